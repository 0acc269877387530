"""A CT series as DICOM: its files, its slices, and how they stack."""
