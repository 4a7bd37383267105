"""What quantization methods share: what places see on calibration pictures, and what a method is."""
