"""Kills the real server at random moments and looks, with eyes of its own, for what was lost, doubled or miscounted."""
