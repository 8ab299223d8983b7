"""Shared by all chat platforms: commands, texts, buttons, administration."""
