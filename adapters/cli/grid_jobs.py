"""`easel grid`: make all cells, then write the labelled sheets."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapters.cli.error_output import FAILED, Failure
from adapters.cli.image_files import OutputTarget, save_image
from adapters.cli.job_commands import ParsedRequest, make_jobs, require_result, save_images
from adapters.cli.output import print_aligned, print_json, print_line, print_note, program_name
from adapters.cli.views import FINAL, JobBody
from bot.commands import Grid
from bot.errors import EaselError, JobNotFound

if TYPE_CHECKING:
    from adapters.cli.client.types import JobClient
    from adapters.cli.ports import CompositionRoot, LoadedConfig

NO_SHEET = "None of the grid's cells has a picture."


async def run_grid(
    composition: "CompositionRoot",
    loaded: "LoadedConfig",
    parsed: ParsedRequest,
    files: Mapping[str, bytes],
    *,
    with_cells: bool = False,
) -> int:
    """Returns the exit code. An interruption cancels all cells. `with_cells`: each cell's pictures are written too."""
    from adapters.cli.client.open import open_job_client

    async with open_job_client(composition, loaded) as client:
        jobs = await make_jobs(client, parsed, files)
        batch = await client.read_batch(str(jobs[0]["batch"]))
        return await SheetPrinter(client, parsed.target, parsed.as_json).print_batch(batch, with_cells=with_cells)


@dataclass(frozen=True)
class SheetPrinter:
    """Prints the paths of the sheets, and of the cells if they are written too; or the batch as JSON."""

    client: "JobClient"
    target: OutputTarget
    as_json: bool

    async def print_batch(self, batch: dict[str, Any], *, with_cells: bool = False) -> int:
        """The exit code is not 0 if a cell or a file failed."""
        written: list[str] = []
        failures: list[Failure] = []
        try:
            await self._save_sheets(batch, written)
        except Failure as error:
            failures.append(error)
        for job in batch["jobs"]:
            try:
                require_result(job)
                if with_cells:
                    await self._save_cell(job, written)
            except Failure as error:
                failures.append(error)
        for sentence in dict.fromkeys(failure.sentence for failure in failures):
            print_note(f"easel: {sentence}")
        if self.as_json:
            print_json({**batch, "files": written, "error": _first_error(failures)})
        else:
            for path in written:
                print_line(path)
        return FAILED if failures else 0

    async def _save_sheets(self, batch: dict[str, Any], written: list[str]) -> None:
        """Raises: Failure."""
        sheets = batch["sheets"]
        if not sheets:
            raise Failure(NO_SHEET, code="failed")
        for sheet in sheets:
            number = sheet["z"] + 1
            path = self.target.image_path(batch["batch"], number, len(sheets) > 1, sheet["media_type"])
            data = await self.client.read_image(sheet["id"])
            written.append(str(await asyncio.to_thread(save_image, path, data, batch["batch"])))

    async def _save_cell(self, job: dict[str, Any], written: list[str]) -> None:
        """Beside the sheets, under the job's id."""
        target = OutputTarget(self.target.folder)
        await save_images(self.client, target, job, written, is_numbered=True, offset=0)


async def find_job_or_grid(client: "JobClient", name: str) -> tuple[JobBody, dict[str, Any] | None]:
    """A job by its id or its beginning, or the batch of a grid by its whole id. Raises: EaselError."""
    try:
        return await client.read_job(name), None
    except EaselError as error:
        if error.code != JobNotFound.code:
            raise
        try:
            batch = await client.read_batch(name)
        except EaselError:
            raise error from None
        if batch["kind"] != Grid.name:
            raise
        return {}, batch


def print_grid(batch: dict[str, Any]) -> None:
    """Its axes, how far it is, and the job of each cell."""
    jobs = {job["id"]: job for job in batch["jobs"]}
    ended = sum(job["state"] in FINAL for job in jobs.values())
    print_line(f"{batch['batch']}  {Grid.name}")
    for axis in batch["axes"]:
        print_aligned(axis["axis"], f"{axis['title']}: {', '.join(axis['labels'])}", width=22)
    print_aligned("state", f"{ended} of {len(jobs)} cells have ended", width=22)
    for cell in batch["cells"]:
        job = jobs.get(cell["job"])
        print_aligned(cell["name"], f"{job['id']}  {job['state']}" if job is not None else "deleted", width=22)
    if batch["sheets"]:
        sizes = ", ".join(f"{sheet['width']}x{sheet['height']}" for sheet in batch["sheets"])
        print_aligned("sheets", f"{sizes} (`{program_name()} fetch {batch['batch']}` writes them)", width=22)


def print_cancelled(before: dict[str, Any], batch: dict[str, Any]) -> None:
    """`before`: the batch when it was asked for."""
    if all(job["state"] in FINAL for job in before["jobs"]):
        print_line(f"Grid {batch['batch']} had already ended.")
        return
    running = sum(job["state"] not in FINAL for job in batch["jobs"])
    cells = "cell" if running == 1 else "cells"
    rest = f" {running} {cells} will stop at the next step." if running else ""
    print_line(f"Grid {batch['batch']} is cancelled.{rest}")


def _first_error(failures: list[Failure]) -> dict[str, Any] | None:
    return {"code": failures[0].code, "message": failures[0].sentence, "incident": None} if failures else None
