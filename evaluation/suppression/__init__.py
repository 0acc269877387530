"""Bone suppression: metrics, gains over doing nothing, the protocol and its report."""
