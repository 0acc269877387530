"""Pipelines: networks, schedulers and a way to call them, saved and loaded as diffusers folders."""
