"""`easel fetch`: writes results again."""

from typing import TYPE_CHECKING, Any

from adapters.cli.error_output import Failure
from adapters.cli.grid_jobs import SheetPrinter
from adapters.cli.image_files import resolve_target
from adapters.cli.job_commands import ResultPrinter
from bot.commands import Grid
from bot.errors import EaselError

if TYPE_CHECKING:
    from adapters.cli.client.types import JobClient
    from adapters.cli.ports import CompositionRoot, LoadedConfig


async def fetch_result(
    composition: "CompositionRoot", loaded: "LoadedConfig", job_id: str, out: str | None, as_json: bool
) -> int:
    """Write a job's result again, or a grid's sheets."""
    from adapters.cli.client.open import open_job_client
    from adapters.cli.views import FINAL

    target = resolve_target(out)
    async with open_job_client(composition, loaded) as client:
        try:
            job = await client.read_job(job_id)
        except EaselError as error:
            if error.code != "not_found" or (batch := await _find_grid(client, job_id)) is None:
                raise
            return await SheetPrinter(client, target, as_json).print_batch(batch)
        if job["state"] not in FINAL:
            raise Failure(f"Job {job['id']} is {job['state']}: try again when it is finished.", code="not_finished")
        return await ResultPrinter(client, target, as_json).print_results([job])


async def _find_grid(client: "JobClient", batch_id: str) -> "dict[str, Any] | None":
    try:
        batch = await client.read_batch(batch_id)
    except EaselError:
        return None
    return batch if batch["kind"] == Grid.name else None
