"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

CONFIG = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Read this settings file last", show_default=False)
]
DATA_DIR = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Database, pictures, logs; EASEL_DATA_DIR", show_default=False),
]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object instead")]
