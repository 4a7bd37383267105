"""Pictures with labels: CIFAR-10, CIFAR-100, Tiny-ImageNet and image folders."""
