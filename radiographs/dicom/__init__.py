"""DICOM radiographs in and out: grey levels, derived images, de-identification."""
