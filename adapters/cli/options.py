"""Options that several commands share, and the groups that commands are in."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup


class QuickGroup(TyperGroup):
    """A group whose `--help` is there at once: with no default, typer would import pydantic to read "not given"."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


def make_group(**more: Any) -> typer.Typer:
    return typer.Typer(
        cls=QuickGroup,
        rich_markup_mode=None,  # plain help is quick too, and reads well everywhere
        pretty_exceptions_enable=False,
        add_completion=False,
        **more,
    )


CONFIG = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Read this settings file last", show_default=False)
]
DATA_DIR = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Database, pictures, logs; EASEL_DATA_DIR", show_default=False),
]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object instead")]
