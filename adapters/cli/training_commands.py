"""The arguments of `easel train vision`, `image`, `list`, `show` and `cancel`."""

import os
from typing import Annotated

import typer

from adapters.cli.options import CONFIG, DATA_DIR, JSON, make_group
from adapters.cli.session import Session, run_until_done

MODEL = Annotated[str, typer.Option("--model", metavar="NAME", help="Model to train (default: the one in use)")]
NAME = Annotated[str, typer.Option("--name", metavar="NAME", help="Name of the adapter (default: the folder's)")]
REPLAY = Annotated[
    str,
    typer.Option(
        "--replay",
        metavar="own|none|DIR",
        help="Images that keep old knowledge: the folder's and the model's own, none, or those of a folder",
    ),
]
STEPS = Annotated[
    int,
    typer.Option(
        "--steps", min=0, max=100_000, metavar="NUMBER", help="Training steps (default: as many as the examples need)"
    ),
]
SEED = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, metavar="NUMBER", help="Random seed")]
REPLACE = Annotated[bool, typer.Option("--replace", help="Replace an adapter of the same name")]
ADAPTER = Annotated[str, typer.Argument(metavar="NAME", help="Adapter, as shown by `train list`")]


def train_group(session: Session) -> typer.Typer:
    train = make_group()
    _add_vision(train, session)
    _add_image(train, session)
    _add_list(train, session)
    _add_show(train, session)
    _add_cancel(train, session)
    return train


def _add_vision(train: typer.Typer, session: Session) -> None:
    @train.command(
        help="Teach the vision model new answers from images and metadata.jsonl (file_name, question, answer)",
        short_help="Teach the vision model new answers",
    )
    def vision(
        folder: Annotated[str, typer.Argument(metavar="[FOLDER]", help="Images and metadata.jsonl")] = "",
        corrections: Annotated[
            bool, typer.Option("--corrections", help="Learn from the corrections that people allowed to be used")
        ] = False,
        model: MODEL = "",
        name: NAME = "",
        replay: REPLAY = "own",
        steps: STEPS = 0,
        seed: SEED = 0,
        replace: REPLACE = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.training import train as work

        body = {
            "kind": "vision", "folder": _absolute(folder), "corrections": corrections, "model": model, "name": name,
            "replay": _replay(replay), "steps": steps, "seed": seed, "replace": replace,
        }  # fmt: skip
        loaded = session.load_config(config, data_dir)
        return run_until_done(work.run_training(session.composition, loaded, body, as_json=as_json))


def _add_image(train: typer.Typer, session: Session) -> None:
    @train.command(
        help="Teach the image model a subject or a style from a folder of images, captioned by the vision model",
        short_help="Teach the image model a subject or a style",
    )
    def image(
        folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Images, with captions if there are any")],
        words: Annotated[
            str, typer.Option("--words", metavar="TEXT", help='Words for it in prompts, such as "a zorp"')
        ] = "",
        model: MODEL = "",
        name: NAME = "",
        replay: REPLAY = "own",
        steps: STEPS = 0,
        seed: SEED = 0,
        replace: REPLACE = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.training import train as work

        body = {
            "kind": "image", "folder": _absolute(folder), "words": words, "model": model, "name": name,
            "replay": _replay(replay), "steps": steps, "seed": seed, "replace": replace,
        }  # fmt: skip
        loaded = session.load_config(config, data_dir)
        return run_until_done(work.run_training(session.composition, loaded, body, as_json=as_json))


def _add_list(train: typer.Typer, session: Session) -> None:
    @train.command("list", help="List trainings that run, and trained adapters")
    def listing(as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.training import train as work

        loaded = session.load_config(config, data_dir)
        return run_until_done(work.list_trainings(session.composition, loaded, as_json=as_json))


def _add_show(train: typer.Typer, session: Session) -> None:
    @train.command(help="Show the report card of an adapter")
    def show(name: ADAPTER, as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.training import train as work

        loaded = session.load_config(config, data_dir)
        return run_until_done(work.show_adapter(session.composition, loaded, name, as_json=as_json))


def _add_cancel(train: typer.Typer, session: Session) -> None:
    @train.command(help="Cancel a training and delete its checkpoints")
    def cancel(name: ADAPTER, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.training import train as work

        loaded = session.load_config(config, data_dir)
        return run_until_done(work.cancel_training(session.composition, loaded, name))


def _absolute(folder: str) -> str:
    return os.path.abspath(os.path.expanduser(folder)) if folder else ""  # a "~" of nobody stays


def _replay(given: str) -> str:
    return given if given in ("own", "none") else _absolute(given)
