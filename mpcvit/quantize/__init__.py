"""Post-training quantization: quantizers, the methods that calibrate them, and the widths that they have."""
