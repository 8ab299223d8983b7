"""`easel fetch`: writes results again."""

from typing import TYPE_CHECKING

from adapters.cli.error_output import Failure
from adapters.cli.grid_jobs import SheetPrinter, find_job_or_grid
from adapters.cli.image_files import resolve_target
from adapters.cli.job_commands import ResultPrinter

if TYPE_CHECKING:
    from adapters.cli.ports import CompositionRoot, LoadedConfig


async def fetch_result(
    composition: "CompositionRoot", loaded: "LoadedConfig", job_id: str, out: str | None, as_json: bool
) -> int:
    """Write a job's result again, or a grid's sheets."""
    from adapters.cli.client.open import open_job_client
    from adapters.cli.views import FINAL

    target = resolve_target(out)
    async with open_job_client(composition, loaded) as client:
        job, grid = await find_job_or_grid(client, job_id)
        if grid is not None:
            return await SheetPrinter(client, target, as_json).print_batch(grid)
        if job["state"] not in FINAL:
            raise Failure(f"Job {job['id']} is {job['state']}: try again when it is finished.", code="not_finished")
        return await ResultPrinter(client, target, as_json).print_results([job])
