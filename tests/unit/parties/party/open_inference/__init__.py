"""Tests of the Open Inference Protocol at a party."""
