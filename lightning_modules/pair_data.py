"""Configs from before PairDataModule moved name it by this path."""

from lightning_modules.data.pairs import PairDataModule

__all__ = ["PairDataModule"]
