"""Slice streaming: the CPU's backend, which reads every voxel once and in memory order."""
