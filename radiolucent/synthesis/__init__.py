"""Synthesis as the commands do it: prompts, generators, the quality filter and the dataset's files."""
