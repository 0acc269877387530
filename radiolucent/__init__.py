"""The front door: command line, demo and batch jobs."""

__version__ = "0.1.0"
