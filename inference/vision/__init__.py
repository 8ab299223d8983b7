"""BLIP-2 engines: captions, answers and image-text matching."""
