"""Configs from before CTPairDataModule moved name it by this path."""

from lightning_modules.data.ct_pairs import CTPairDataModule

__all__ = ["CTPairDataModule"]
