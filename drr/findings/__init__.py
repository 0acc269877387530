"""Findings put into a CT, with known truth."""
