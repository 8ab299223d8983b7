"""Options shared by several commands, and the command groups."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup


class QuickGroup(TyperGroup):
    """A group with a fast `--help`: without a default, typer would import pydantic to parse "not given"."""

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option


def make_group(**more: Any) -> typer.Typer:
    return typer.Typer(
        cls=QuickGroup,
        rich_markup_mode=None,  # plain help is fast and readable in every terminal
        pretty_exceptions_enable=False,
        add_completion=False,
        **more,
    )


CONFIG = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Extra settings file: overrides config.toml, overridden by EASEL_ variables",
        show_default=False,
    ),
]
DATA_DIR = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Data directory: database, images, logs (EASEL_DATA_DIR)",
        show_default=False,
    ),
]


def parse_job_id(text: str) -> str:
    """An id or its beginning. Raises: BadInput."""
    job_id = text.strip().lower()
    if job_id.isascii() and job_id.isalnum():
        return job_id
    from adapters.cli.error_output import BadInput
    from adapters.cli.output import printable, program_name

    raise BadInput(f'"{printable(text)}" is no job id: `{program_name()} history` lists your jobs.')


JOB_HELP = "Job id, or its first 4 or more characters"
JOB = Annotated[str, typer.Argument(metavar="JOB", help=JOB_HELP, callback=parse_job_id)]
OUT = Annotated[str | None, typer.Option("--out", "-o", metavar="DIR|FILE", help="Output folder or file")]
JSON = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text")]
