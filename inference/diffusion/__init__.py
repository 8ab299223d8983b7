"""Diffusers pipelines as engines: text to image, image to image."""
