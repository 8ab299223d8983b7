"""Compiled builds of models on this machine. Imports no torch."""

from pathlib import Path

from bot.models import ModelSpec


def find_build(model: ModelSpec, precision: str) -> Path | None:
    """The folder of the model's build for its backend and this precision; None: there is none."""
    return None
