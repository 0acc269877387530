"""Bone suppression as the commands and `Suppressor` do it: which model, at which size, how strongly."""
