"""Programs from before CT-RATE's tables moved name them by this path."""

from drr.io.ct_rate_tables import read_labels, read_reports

__all__ = ["read_labels", "read_reports"]
