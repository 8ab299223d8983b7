"""`/internal`: the owner's chores from the command line, for whoever can read the lock file."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request

from adapters.web.auth import the_keyboard
from adapters.web.bodies import read_json
from adapters.web.context import TheHouse
from adapters.web.schemas import BackupBody, NewKeyBody
from bot.errors import InvalidOption
from bot.ports import ApiKey

router = APIRouter(prefix="/internal", include_in_schema=False, dependencies=[Depends(the_keyboard)])


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
async def create_key(request: Request, house: TheHouse) -> dict[str, Any]:
    body = await read_json(request, NewKeyBody)
    key, text = await house.usecases.people.create_key(body.person, is_admin=body.admin)
    return {"key": text, **_key_json(key)}


@router.get("/keys")
async def list_keys(house: TheHouse) -> dict[str, Any]:
    return {"keys": [_key_json(key) for key in await house.usecases.people.people.keys()]}


@router.delete("/keys/{prefix}")
async def revoke_key(prefix: str, house: TheHouse) -> dict[str, Any]:
    return _key_json(await house.usecases.people.people.revoke_key(prefix))


@router.post("/backup", status_code=201)
async def backup(request: Request, house: TheHouse) -> dict[str, Any]:
    body = await read_json(request, BackupBody)
    path = Path(body.path)
    wrong = InvalidOption("path", "body", allowed="it should be the full path of a file that can be written")
    if "\0" in body.path or not path.is_absolute():
        raise wrong
    try:
        await house.usecases.operations.backup(path)
    except OSError as error:
        raise wrong from error
    return {"path": str(path)}
