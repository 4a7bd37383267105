"""Post-training quantization: quantizers, methods, and what they become on secret shares."""
