"""`/api/v1/jobs/{id}/correction`: what a caption or an answer should have been, and consent to training with it."""

from typing import Any

from fastapi import APIRouter, Request, Response

from adapters.web.auth import CallerDep
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep
from adapters.web.correction_schemas import CorrectionBody, SavedCorrection
from adapters.web.parameters import body_of
from adapters.web.routes_jobs import require_job_id
from adapters.web.schemas import ProblemInfo
from adapters.web.views import RETIRED, saved_correction_json

router = APIRouter(prefix="/api/v1", tags=["jobs"], responses={"4XX": {"model": ProblemInfo}})


@router.post(
    "/jobs/{job_id}/correction",
    status_code=201,
    response_model=SavedCorrection,
    openapi_extra=body_of("CorrectionBody"),
)
async def correct_job(job_id: str, request: Request, context: ContextDep, caller: CallerDep) -> Any:
    """Say what the caption or the answer of one of the caller's own jobs should have been, in place of what was said
    before. Without `consent` it is only shown with the job; consent that was given before is withdrawn."""
    body = await read_json(request, CorrectionBody)
    saved, retired = await context.usecases.corrections.correct(
        caller.person, require_job_id(job_id), body.text, consent=body.consent
    )
    return saved_correction_json(saved, retired)


@router.delete(
    "/jobs/{job_id}/correction",
    status_code=204,
    responses={
        204: {
            "description": "It is gone, or was before",
            "headers": {RETIRED: {"description": "Names, separated by commas", "schema": {"type": "string"}}},
        }
    },
)
async def delete_correction(job_id: str, context: ContextDep, caller: CallerDep) -> Response:
    """Delete the correction, and withdraw consent. Adapters that learned from it are switched off. Repeating this does
    no harm."""
    retired = await context.usecases.corrections.delete(caller.person, require_job_id(job_id))
    headers = {RETIRED: ", ".join(one.name for one in retired)} if retired else None
    return Response(status_code=204, headers=headers)
