"""Pictures with labels: CIFAR-10 and image folders."""
