"""Results go to stdout, one per line; everything else goes to stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

PIPE_WIDTH = 10_000
"""Columns of a table that is written to a pipe or file: its rows are never wrapped."""


def print_line(line: str) -> None:
    """Print a line of the result, on stdout."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def print_note(line: str) -> None:
    """Print a line that is not part of the result, on stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def print_json(content: object) -> None:
    """What the output's encoding lacks is escaped, so that no character is lost."""
    text = json.dumps(content, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(content)
    print_line(text)


def printable(text: str) -> str:
    """On one line, without control characters: the name of a file may have any."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def print_aligned(label: str, text: str, *, width: int) -> None:
    """Print an indented label and its text; on a terminal, long texts wrap under their first word."""
    start = f"  {label:<{width}}"
    if not sys.stdout.isatty():
        print_line(f"{start}{text}")
        return
    import shutil
    import textwrap

    columns = max(40, shutil.get_terminal_size().columns)
    indent = " " * len(start)
    lines = textwrap.wrap(
        text, columns, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    for line in lines:
        print_line(line)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns, the first of which never wraps. A pipe gets one plain line per row, however long."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    is_terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout, force_terminal=is_terminal, width=None if is_terminal else PIPE_WIDTH, highlight=False
    )
    box = SIMPLE_HEAD if is_terminal else None
    table = Table(box=box, show_edge=False, pad_edge=False, padding=(0, 1), header_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(Text(heading), no_wrap=number == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        print_line(line.rstrip())


def replace_unencodable() -> None:
    """Print a question mark for a character that the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def program_name() -> str:
    """How the program was called, for messages that suggest a command."""
    name = Path(sys.argv[0]).name
    return f"python {name}" if name.endswith(".py") else "easel"


def with_image_wording(text: str) -> str:
    """Sentences are shared with the chats, which say picture; the command line says image."""
    return text.replace("a picture", "an image").replace("A picture", "An image").replace("picture", "image")
