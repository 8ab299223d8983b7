"""Readers of the settings that programs leave in their images, one module each."""
