"""Trains adapters of vision and image models on this machine, in a process of its own."""
