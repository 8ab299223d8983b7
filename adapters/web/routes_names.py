"""`/api/v1/styles`, `/loras` and `/wildcards`: the names that a prompt may use, with what they fit."""

import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from adapters.web.auth import CallerDep
from adapters.web.context import ContextDep
from adapters.web.parameters import check_words
from adapters.web.prompt_schemas import LoraPage, StylePage, WildcardPage
from adapters.web.schemas import ProblemInfo
from bot.usecases import NamedAddon, NamedStyle, NamedWildcard

MAX_WORDS = 80

router = APIRouter(prefix="/api/v1", tags=["about"], responses={"4XX": {"model": ProblemInfo}})

Words = Annotated[str, Query(description="Only names that contain this")]
_NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "Not modified"}}


@router.get("/styles", response_model=StylePage, responses=_NOT_MODIFIED)
async def list_styles(request: Request, context: ContextDep, _caller: CallerDep, q: Words = "") -> Response:
    """The owner's styles, in their order."""
    found, total = context.usecases.names.list_styles(check_words("q", q, longest=MAX_WORDS))
    return _answer(request, {"styles": [_style_json(one) for one in found], "total": total})


@router.get("/loras", response_model=LoraPage, responses=_NOT_MODIFIED)
async def list_loras(request: Request, context: ContextDep, caller: CallerDep, q: Words = "") -> Response:
    """The installed LoRAs and textual inversions."""
    found, total = await context.usecases.names.list_addons(caller.person.id, check_words("q", q, longest=MAX_WORDS))
    return _answer(request, {"loras": [_addon_json(one) for one in found], "total": total})


@router.get("/wildcards", response_model=WildcardPage, responses=_NOT_MODIFIED)
async def list_wildcards(request: Request, context: ContextDep, caller: CallerDep, q: Words = "") -> Response:
    """The wildcards of the data directory. `lines` is null until a file has been read."""
    found, total = await context.usecases.names.list_wildcards(caller.person.id, check_words("q", q, longest=MAX_WORDS))
    return _answer(request, {"wildcards": [_wildcard_json(one) for one in found], "total": total})


def _answer(request: Request, body: dict[str, Any]) -> Response:
    """With an ETag: a page asks again whenever it opens, and the names hardly ever change."""
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type="application/json")


def _style_json(one: NamedStyle) -> dict[str, Any]:
    style = one.style
    return {"name": one.name, "prompt": style.prompt, "negative": style.negative, "models": list(one.models)}


def _addon_json(one: NamedAddon) -> dict[str, Any]:
    addon = one.addon
    is_lora = addon.kind == "lora"
    return {
        "name": addon.name,
        "kind": addon.kind,
        "title": one.title,
        "insert": f"<lora:{addon.name}:{one.weight:g}>" if is_lora else next(iter(addon.spellings), addon.name),
        "family": addon.family or None,
        "models": list(one.models),
        "base_model": one.metadata.base_model or None if one.metadata is not None else None,
        "trigger_words": list(one.trigger_words),
        "weight": one.weight if is_lora else None,
    }


def _wildcard_json(one: NamedWildcard) -> dict[str, Any]:
    summary = one.summary
    return {
        "name": one.name,
        "insert": f"__{one.name}__",
        "lines": summary.lines if summary is not None else None,
        "examples": list(summary.examples) if summary is not None else [],
    }
