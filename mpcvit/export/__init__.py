"""From a trained module to a Program and its integer weights: folding, calibration, splines, range proof."""
