"""The segmentation engine: masks of what a text names."""
