"""Programs of quantized models."""
