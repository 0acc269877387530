"""Synthetic images: the protocols of quality, privacy and utility."""
