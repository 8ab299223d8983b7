"""What people read about a grid in a chat: while it waits, while it is filled, and under its sheets."""

from bot.chat.durations import format_duration
from bot.i18n import N_, translator
from bot.options import clean_text
from bot.queue.grid_message import GridCell, GridMessage

MAX_AXIS = 200
"""Characters of the values of an axis."""
CELL_PLACEHOLDER = N_("Show one picture")
CELLS_PLACEHOLDER = N_("Show one picture: {first} to {last}")
WHICH_CELL = N_("Which picture of the grid? Begin with its place, as in: {cell} {words}")
NO_CELL = N_("The grid has no picture {cell}.")


def format_waiting(shown: GridMessage, waiting: str, locale: str = "en") -> str:
    """`waiting`: its place in the queue."""
    grid = translator(locale)("A grid of {n} pictures.").format(n=len(shown.cells))
    return f"{grid} {waiting}"


def format_filling(shown: GridMessage, locale: str = "en") -> str:
    translate = translator(locale)
    done, count = shown.ended, len(shown.cells)
    if shown.eta_s is None:
        return translate("{done} of {n} pictures of the grid.").format(done=done, n=count)
    left = format_duration(shown.eta_s, translate)
    return translate("{done} of {n} pictures of the grid, {left} left.").format(done=done, n=count, left=left)


def format_grid(shown: GridMessage, locale: str = "en") -> str:
    """Under the sheets: the prompt, the axes, what is missing, and how to see one picture."""
    translate = translator(locale)
    lines = [clean_text(str(shown.options.get("prompt", ""))), *(_shorten(axis) for axis in shown.axes)]
    missing = shown.missing
    if missing:
        made = len(shown.cells) - sum(missing.values())
        lines.append(translate("{made} of {n} pictures were made.").format(made=made, n=len(shown.cells)))
        lines += [reason for reason in missing if reason]
    example = next((cell.name for cell in reversed(shown.cells) if cell.is_made), "")
    if example:
        lines.append(translate("To see one picture, reply with its place, such as {cell}.").format(cell=example))
    return "\n".join(filter(None, lines))


def format_cell(cell: GridCell) -> str:
    """Above one picture: its place and its values."""
    return f"{cell.name}: {cell.title}"


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_AXIS else text[: MAX_AXIS - 1].rstrip() + "\u2026"
