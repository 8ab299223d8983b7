"""Names of a grid's cells: the letter of the column and the number of the row, as in a spreadsheet."""

from collections.abc import Mapping

from bot.jobs import Job
from bot.usecases.grid_spec import GridPlace, GridSpec

CELL = "grid_cell"
"""In a cell's origin: its name."""
_LETTERS = 26


def name_column(index: int) -> str:
    """a to z, then aa, ab."""
    name = ""
    while index >= 0:
        index, letter = divmod(index, _LETTERS)
        name = chr(ord("a") + letter) + name
        index -= 1
    return name


def name_row(index: int) -> str:
    return str(index + 1)


def name_cell(spec: GridSpec, cell: GridPlace) -> str:
    """`b2`; where there are several sheets, after the number of its sheet: `1b2`."""
    sheet = str(cell.z + 1) if spec.count("z") > 1 else ""
    return f"{sheet}{name_column(cell.x)}{name_row(cell.y)}"


def name_cells(spec: GridSpec) -> Mapping[str, str]:
    """By their jobs."""
    return {cell.job: name_cell(spec, cell) for cell in spec.cells}


def cell_of(job: Job) -> str:
    """The name of the cell that the job is; empty: it is of no grid."""
    return str(job.origin.extra.get(CELL, "")) if job.batch is not None else ""


def title_cell(spec: GridSpec, cell: GridPlace) -> str:
    """Its values: `steps 8, guidance 5`."""
    places = {"x": cell.x, "y": cell.y, "z": cell.z}
    return ", ".join(f"{axis.title} {axis.labels[places[axis.name]]}".rstrip() for axis in spec.axes)
