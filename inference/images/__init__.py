"""Sanitizes, encodes and resizes images, in a child process of its own."""
