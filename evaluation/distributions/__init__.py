"""Distances between sets of images: one metric a file."""
