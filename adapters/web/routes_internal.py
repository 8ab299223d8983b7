"""`/internal`: administration from the command line, for programs that can read the lock file."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request

from adapters.web.auth import require_local_secret
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep
from adapters.web.schemas import BackupBody, NewKeyBody
from bot.errors import InvalidOption
from bot.ports import ApiKey

router = APIRouter(prefix="/internal", include_in_schema=False, dependencies=[Depends(require_local_secret)])


def _key_json(key: ApiKey) -> dict[str, Any]:
    return {
        "prefix": key.prefix,
        "person": key.person.name,
        "admin": key.is_admin,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }


@router.post("/keys", status_code=201)
async def create_key(request: Request, context: ContextDep) -> dict[str, Any]:
    body = await read_json(request, NewKeyBody)
    key, text = await context.usecases.people.create_key(body.person, is_admin=body.admin)
    return {"key": text, **_key_json(key)}


@router.get("/keys")
async def list_keys(context: ContextDep) -> dict[str, Any]:
    return {"keys": [_key_json(key) for key in await context.usecases.people.list_keys()]}


@router.delete("/keys/{prefix}")
async def revoke_key(prefix: str, context: ContextDep) -> dict[str, Any]:
    return _key_json(await context.usecases.people.revoke_key(prefix))


@router.post("/unlock")
async def unlock_server(context: ContextDep) -> dict[str, Any]:
    active = await context.usecases.people.unlock()
    return {"locked": active > 0, "active_keys": active}


@router.post("/backup", status_code=201)
async def backup_database(request: Request, context: ContextDep) -> dict[str, Any]:
    body = await read_json(request, BackupBody)
    path = Path(body.path)
    invalid = InvalidOption("path", "body", allowed="it must be the absolute path of a writable file")
    if "\0" in body.path or not path.is_absolute():
        raise invalid
    try:
        await context.usecases.operations.backup_database(path)
    except OSError as error:
        raise invalid from error
    return {"path": str(path)}
