"""Turns a request for a grid into the jobs of its cells; all are possible, or the grid is refused."""

import math
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from bot.commands.defaults import MODEL_LACKS
from bot.commands.grid import Grid, cell_command
from bot.commands.grid_axes import CONTROL, LORA, MAX_CELLS, Axis
from bot.errors import InvalidOption
from bot.jobs import new_job_id
from bot.options import MAX_SEED
from bot.ports import NewJob, Person
from bot.ports.batches import GRID, NewBatch
from bot.problem_texts.grid_problems import AxisRefused
from bot.usecases.grid_cells import Cell, list_cells
from bot.usecases.grid_names import CELL, name_cells
from bot.usecases.grid_spec import read_spec, write_spec
from bot.usecases.requests import Request

PlanCell = Callable[[Person, Request, int], Awaitable[Sequence[NewJob]]]
"""Plans a request, with the seed that it has where it gives none."""


@dataclass(frozen=True)
class GridPlanner:
    plan_cell: PlanCell
    max_cells: int = MAX_CELLS

    async def plan(self, person: Person, request: Request) -> tuple[list[NewJob], NewBatch]:
        """The jobs of the cells, in their order; on a chat platform the first has the message of all.

        Raises: InvalidOption: of which cell it says; what planning raises.
        """
        grid = request.to_command()
        assert isinstance(grid, Grid)
        axes = grid.axes
        count, limit = math.prod(len(axis.values) for axis in axes), min(self.max_cells, MAX_CELLS)
        if count > limit:
            raise InvalidOption("grid", "grid_cells", value=count, allowed=str(limit))
        seed = secrets.randbelow(MAX_SEED + 1)
        jobs: list[NewJob] = []
        for cell in list_cells(axes, grid.cell_options, grid.images):
            jobs.append(await self._plan_one(person, request, axes, cell, seed))
        batch = NewBatch(id=new_job_id(), kind=GRID, spec=write_spec(axes, [job.id for job in jobs]))
        names = name_cells(read_spec(batch.spec))
        first, *others = (replace(_named(job, names[job.id]), batch=batch.id) for job in jobs)
        return [first, *(replace(job, wants_delivery=False) for job in others)], batch

    async def _plan_one(self, person: Person, request: Request, axes: Sequence[Axis], cell: Cell, seed: int) -> NewJob:
        command = cell_command(cell.options, cell.images)
        asked = replace(request, command=command, options=cell.options, line=None, images=cell.images)
        try:
            planned = await self.plan_cell(person, asked, seed)
        except InvalidOption as reason:
            raise _name_cell(axes, cell, reason) from reason
        if len(planned) > 1:
            raise InvalidOption("prompt", "grid_combinations")
        return planned[0]


def _named(job: NewJob, name: str) -> NewJob:
    return replace(job, origin=replace(job.origin, extra={**job.origin.extra, CELL: name}))


def _name_cell(axes: Sequence[Axis], cell: Cell, reason: InvalidOption) -> InvalidOption:
    """The refusal with the values that it is about. Where that is not known, they are those in which the cell differs
    from the first, which was possible; what the first cell is refused for concerns all of them."""
    meant = [index for index, axis in enumerate(axes) if _is_about(axis, reason)]
    differing = [index for index, place in enumerate(cell.place) if place]
    models = [index for index, axis in enumerate(axes) if axis.option == "model"]
    if not meant and not differing and not (models and reason.problem in MODEL_LACKS):
        return reason
    named = list(dict.fromkeys([*(meant or differing), *models]))
    places = [f"{axes[index].title}={axes[index].label(cell.place[index])}" for index in named]
    return AxisRefused(axes[named[0]].name, ", ".join(places), reason)


def _is_about(axis: Axis, reason: InvalidOption) -> bool:
    if axis.option.startswith(LORA):
        return "lora" in reason.problem
    if axis.option.startswith(CONTROL):
        return reason.option in ("control", "kind", "weight")
    return reason.option == axis.option
