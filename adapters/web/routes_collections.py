"""`/api/v1/collections`: the caller's named sets of pictures."""

import re
from typing import Any

from fastapi import APIRouter, Request

from adapters.web.auth import CallerDep
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep
from adapters.web.parameters import body_of, require_number
from adapters.web.routes_jobs import require_job_id
from adapters.web.routes_pictures import Number
from adapters.web.schemas import CollectionBody, CollectionInfo, CollectionPage, ProblemInfo
from adapters.web.views import collection_json
from bot.errors import NotFound

_ID = re.compile(r"[a-z2-7]{16}")
_BODY = body_of("CollectionBody")

router = APIRouter(prefix="/api/v1/collections", tags=["collections"], responses={"4XX": {"model": ProblemInfo}})


def _require_id(text: str) -> str:
    """Raises: NotFound."""
    if not _ID.fullmatch(text):
        raise NotFound("collection", text[:40])
    return text


@router.post("", status_code=201, response_model=CollectionInfo, openapi_extra=_BODY)
async def create_collection(request: Request, context: ContextDep, caller: CallerDep) -> Any:
    """Create an empty collection. Names are unique, in upper and lower case; there are at most 500."""
    body = await read_json(request, CollectionBody)
    return collection_json(await context.usecases.collections.create(caller.person, body.name))


@router.get("", response_model=CollectionPage)
async def list_collections(context: ContextDep, caller: CallerDep) -> Any:
    """All of the caller's collections, by name. `cover` is the image that was added last."""
    found = await context.usecases.collections.list_all(caller.person)
    return {"collections": [collection_json(one) for one in found], "total": len(found)}


@router.put("/{collection_id}", response_model=CollectionInfo, openapi_extra=_BODY)
async def rename_collection(collection_id: str, request: Request, context: ContextDep, caller: CallerDep) -> Any:
    """Give it another name."""
    body = await read_json(request, CollectionBody)
    return collection_json(
        await context.usecases.collections.rename(caller.person, _require_id(collection_id), body.name)
    )


@router.delete("/{collection_id}", status_code=204)
async def delete_collection(collection_id: str, context: ContextDep, caller: CallerDep) -> None:
    """Delete the collection; its pictures stay."""
    await context.usecases.collections.delete(caller.person, _require_id(collection_id))


@router.put("/{collection_id}/pictures/{job_id}/{n}", status_code=204)
async def collect_picture(collection_id: str, job_id: str, n: Number, context: ContextDep, caller: CallerDep) -> None:
    """Add a picture of one of the caller's own jobs. Repeating this does no harm."""
    await context.usecases.collections.add_picture(
        caller.person, _require_id(collection_id), require_job_id(job_id), require_number(n)
    )


@router.delete("/{collection_id}/pictures/{job_id}/{n}", status_code=204)
async def release_picture(collection_id: str, job_id: str, n: Number, context: ContextDep, caller: CallerDep) -> None:
    """Take a picture out; it stays in its job."""
    await context.usecases.collections.remove_picture(
        caller.person, _require_id(collection_id), require_job_id(job_id), require_number(n)
    )
