"""BLIP-2 as an engine: captions and answers."""
