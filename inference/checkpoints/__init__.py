"""Identifies checkpoints, filters their files and finds them on the disk."""
