"""`setup`: lays out the owner's files in the data directory, and says how the house gets real models and chats.

It can be run again: what is there already is never written over.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.cli import checks_house
from adapters.cli.doctor import OK, Check
from bot.settings.places import FILE_NAME
from bot.settings.secrets import SECRETS_FILE

if TYPE_CHECKING:
    from adapters.cli.composition import Composition, Loaded

CONFIG = """\
# Your own settings; they win over the config.toml beside main.py, which lists every one with its default.
# A model of your own: a folder in the Diffusers or Transformers layout with safetensors weights. Your own models come
# before the starters. Take the marks away and give the folder:

# [models.my-sd15]
# tasks = ["text-to-image", "image-to-image"]
# repo = "/models/stable-diffusion-v1-5"
# steps = 25
# guidance_scale = 7.0
# width = 512
# height = 512

# [models.my-blip2]
# tasks = ["image-to-text", "visual-question-answering"]
# repo = "/models/blip2-opt-2.7b"
"""
SECRETS = """\
# Tokens: nobody but you may read this file. Take the marks away and put each after its sign.
# DISCORD_TOKEN=
# TELEGRAM_BOT_TOKEN=
"""
NEXT = (
    "Real pictures: `easel models list` shows which there are; `easel models use NAME` fetches one and tries it.",
    "Chats: put tokens into {secrets}. docs/discord.md and docs/telegram.md say how to get them.",
    "Then `easel doctor` says what would work, and `easel serve` starts it.",
)


def set_up(composition: "Composition", loaded: "Loaded") -> Iterator[Check]:
    """What this machine is, what was written where, and what to do next, as soon as each is known."""
    yield from checks_house.hardware(composition)
    config, secrets = loaded.data_dir / FILE_NAME, loaded.data_dir / SECRETS_FILE
    yield _write(config, CONFIG, 0o644)
    yield _write(secrets, SECRETS, 0o600)
    for sentence in NEXT:
        yield Check("next", OK, sentence.format(secrets=secrets))


def _write(path: Path, content: str, mode: int) -> Check:
    """Raises: OSError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return Check("files", OK, f"{path} is there already and was left as it is.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
    return Check("files", OK, f"{path} was written, with examples.")
