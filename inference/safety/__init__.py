"""Checks images for adult content."""
