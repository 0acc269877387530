"""Radiographs with their reports and views, from data sets as they are distributed."""
