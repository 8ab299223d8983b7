"""`/api/v1/export`: the caller's images as a zip."""

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from adapters.web.auth import Caller, CallerDep
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep
from adapters.web.parameters import body_of
from adapters.web.routes_jobs import require_job_id
from adapters.web.schemas import MAX_EXPORTED, ExportBody, ProblemInfo
from bot.jobs import Origin

_BODY = body_of("ExportBody")

_MAX_VALUES = 5 * MAX_EXPORTED
"""Of a body with as many jobs, and as many pictures, which are three values each."""

router = APIRouter(prefix="/api/v1", tags=["media"], responses={"4XX": {"model": ProblemInfo}})


@router.post(
    "/export",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}},
    openapi_extra=_BODY,
)
async def export_images(request: Request, context: ContextDep, caller: CallerDep) -> Response:
    """A zip of the images of these jobs and of these single pictures, or of all jobs (`jobs` null and no pictures),
    with a JSON file beside each that says how it was made."""
    body = await read_json(request, ExportBody, max_values=_MAX_VALUES)
    pictures = [(require_job_id(picture.job), picture.n) for picture in body.pictures]
    jobs = None if body.jobs is None else [require_job_id(job) for job in body.jobs]
    chunks = await context.usecases.exports.export_images(caller.person, _origin_of(caller), jobs, pictures)
    headers = {
        "Content-Disposition": 'attachment; filename="easel.zip"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(chunks, media_type="application/zip", headers=headers)


def _origin_of(caller: Caller) -> Origin:
    return Origin(platform="web", space_id="web", account_id=caller.person.id, is_admin=caller.is_admin)
