"""The command line that the recipes share: `python -m training.train_NAME`."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch


def run_recipe(
    name: str,
    train: Callable[..., float | Mapping[str, float]],
    *,
    quick: Any,
    full: Any,
    description: str | None,
    models: Sequence[str] = (),
) -> None:
    """Read the options, train `models/starter-NAME` and print the seconds spent.

    Args:
        train: called with the recipe, the folder of runs, the model's folder and the folders of `models`.
        models: names of other starter models that the training uses.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a few steps, to a temporary folder")
    parser.add_argument("--threads", type=int, default=2, help="processor threads to use")
    parser.add_argument("--runs", type=Path, default=Path(".training"))
    parser.add_argument("--out", type=Path, default=Path(f"models/starter-{name}"))
    for model in models:
        parser.add_argument(f"--{model}-model", type=Path, default=Path(f"models/starter-{model}"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folders = [getattr(options, f"{model}_model") for model in models]
    if options.quick:
        folder = Path(tempfile.mkdtemp(prefix=f"starter-{name}-"))
        seconds = train(quick, folder / "runs", folder / "model", *folders)
        print(f"saved {folder / 'model'}")
    else:
        seconds = train(full, options.runs, options.out, *folders)
    print(f"seconds: {json.dumps(seconds) if isinstance(seconds, Mapping) else f'{seconds:.0f}'}")
