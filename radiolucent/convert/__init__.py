"""Weights that others published, read without running their code, as our models: one file a format."""
