"""`/api/v1/jobs/{id}/pictures` and `/api/v1/batches`: single pictures of a job, and jobs accepted together."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request

from adapters.web.auth import CallerDep
from adapters.web.batch_views import batch_json
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep
from adapters.web.parameters import body_of, require_number
from adapters.web.routes_jobs import require_job_id
from adapters.web.schemas import MAX_EXPORTED, BatchInfo, EraseBody, ProblemInfo
from bot.errors import NotFound

_MAX_ERASED_VALUES = 5 * MAX_EXPORTED
"""Of a body with as many jobs, and as many pictures, which are three values each."""

_BATCH_ID = re.compile(r"[a-z2-7]{1,64}")

router = APIRouter(prefix="/api/v1", tags=["jobs"], responses={"4XX": {"model": ProblemInfo}})

Number = Annotated[
    str,
    Path(
        description="Which picture, from 1, in the stored order; a deleted one keeps its number",
        json_schema_extra={"type": "integer", "minimum": 1},
    ),
]


@router.put("/jobs/{job_id}/pictures/{n}/favourite", status_code=204)
async def add_favourite(job_id: str, n: Number, context: ContextDep, caller: CallerDep) -> None:
    """Make a picture of one of the caller's own jobs a favourite."""
    await context.usecases.pictures.set_favourite(
        caller.person, require_job_id(job_id), require_number(n), is_favourite=True
    )


@router.delete("/jobs/{job_id}/pictures/{n}/favourite", status_code=204)
async def remove_favourite(job_id: str, n: Number, context: ContextDep, caller: CallerDep) -> None:
    """Remove it from the favourites. Repeating this does no harm."""
    await context.usecases.pictures.set_favourite(
        caller.person, require_job_id(job_id), require_number(n), is_favourite=False
    )


@router.delete("/jobs/{job_id}/pictures/{n}", status_code=204)
async def delete_picture(job_id: str, n: Number, context: ContextDep, caller: CallerDep) -> None:
    """Delete one picture, and the chat messages that show it alone; its place becomes null. The job's words go with its
    last picture. Repeating this does no harm."""
    await context.usecases.pictures.delete_picture(
        caller.person, require_job_id(job_id), require_number(n), retracts=True
    )


@router.post("/erase", status_code=204, openapi_extra=body_of("EraseBody"))
async def erase_pictures(request: Request, context: ContextDep, caller: CallerDep) -> None:
    """Delete these jobs and these single pictures, as with one request for each: also if the client leaves meanwhile.
    What is gone already is left out."""
    body = await read_json(request, EraseBody, max_values=_MAX_ERASED_VALUES)
    jobs = [require_job_id(job) for job in body.jobs]
    pictures = [(require_job_id(picture.job), picture.n) for picture in body.pictures]
    await context.usecases.pictures.erase_all(caller.person, jobs, pictures)


@router.get("/batches/{batch_id}", response_model=BatchInfo)
async def get_batch(batch_id: str, context: ContextDep, caller: CallerDep) -> Any:
    """The jobs that one request of the caller created, in order; of a grid also its axes, which cell each job is, and
    once all of them have ended, the sheets. A sheet that is ready is announced as a change of the last job."""
    return batch_json(await context.usecases.grids.get_batch(caller.person.id, _require_batch_id(batch_id)))


@router.delete("/batches/{batch_id}", status_code=202, response_model=BatchInfo)
async def cancel_batch(batch_id: str, context: ContextDep, caller: CallerDep) -> Any:
    """Cancel its unfinished jobs. What they cost is refunded; a grid's sheet shows the others."""
    return batch_json(await context.usecases.grids.cancel_batch(caller.person, _require_batch_id(batch_id)))


def _require_batch_id(text: str) -> str:
    """Raises: NotFound."""
    if not _BATCH_ID.fullmatch(text):
        raise NotFound("batch", text[:40])
    return text
