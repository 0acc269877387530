"""The words that all rooms share: views, sexes, splits and CheXpert's labels. Imports nothing, so that every room may.

A view is added at the end of VIEWS: saved models know the views by their place (see diffusion's Conditioner).
"""

from __future__ import annotations

# LL is the left lateral, RL the right one, LATERAL one whose side the data do not tell (as in MIMIC-CXR).
VIEWS = ("PA", "AP", "LL", "LATERAL", "RL")
FRONTAL, LATERAL = ("PA", "AP"), ("LATERAL", "LL", "RL")
SEXES = ("F", "M")
SPLITS = ("train", "validation", "test")
# that can be put into a body, and asked for in a box; a new one comes last: maps of regions have a channel for each
FINDINGS = ("nodule", "consolidation", "pleural effusion", "pneumothorax", "cardiomegaly")
# in the order of CheXpert's own tables (Irvin et al., 2019)
CHEXPERT = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
