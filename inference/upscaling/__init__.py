"""The upscaling engine: enlarges images in tiles."""
