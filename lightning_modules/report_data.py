"""Configs from before ReportDataModule moved name it by this path."""

from lightning_modules.data.reports import ReportDataModule

__all__ = ["ReportDataModule"]
