"""Starts programs without the seconds that it takes to import torch, Diffusers or the server: docs/testing.md."""
