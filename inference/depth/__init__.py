"""The depth estimation engine: depth maps of images."""
