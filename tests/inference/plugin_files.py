"""Writes plugins for workers into a data directory."""

import hashlib
import textwrap
from pathlib import Path
from typing import Any

from bot.ports import WorkerPlugin


def write_plugin(data_dir: Path, name: str, source: str, **settings: Any) -> WorkerPlugin:
    """The plugin, enabled with these settings."""
    path = data_dir / "plugins" / f"{name.replace('-', '_')}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(source))
    return WorkerPlugin(
        name=name.replace("_", "-"), sha256=hashlib.sha256(path.read_bytes()).hexdigest(), settings=settings
    )
