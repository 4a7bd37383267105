"""Removal of heads and MLP channels: what each is worth, and what is left without some."""
