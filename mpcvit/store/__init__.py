"""Folders of models on disk: trained, quantized, exported, shared."""
