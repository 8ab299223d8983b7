"""What can be asked, and how much: `/api/v1/quota`, `/models`, `/commands`."""

from typing import Any

from fastapi import APIRouter

from adapters.web.auth import TheCaller
from adapters.web.context import TheHouse
from adapters.web.schemas import ProblemInfo, QuotaInfo
from adapters.web.views import command_json, model_json, quota_json
from bot.commands import COMMANDS

router = APIRouter(prefix="/api/v1", tags=["what can be asked"], responses={"4XX": {"model": ProblemInfo}})


@router.get("/quota", response_model=QuotaInfo)
async def quota(house: TheHouse, caller: TheCaller) -> Any:
    """Today's allowance in device-seconds; `limit` null is unlimited."""
    usecases = house.usecases
    return quota_json(await usecases.people.quota(caller.person, usecases.jobs.daily_s(caller.person)))


@router.get("/me")
async def me(caller: TheCaller) -> dict[str, Any]:
    """Who the key is, and whether it may do what admins may."""
    return {"name": caller.person.name, "admin": caller.is_admin}


@router.get("/models")
async def models(house: TheHouse, _caller: TheCaller) -> dict[str, list[dict[str, Any]]]:
    """The models of this house; the first that can do a task is the task's default."""
    known = house.usecases.models
    warm = frozenset(name for status in house.usecases.operations.devices() for name in status.warm)
    return {"models": [model_json(spec, known, warm) for spec in known]}


@router.get("/commands")
async def commands(house: TheHouse, _caller: TheCaller) -> dict[str, list[dict[str, Any]]]:
    """Everything that can be asked, with each option's type, range and default."""
    known, styles = house.usecases.models, house.usecases.styles
    return {"commands": [command_json(command, known, styles) for command in COMMANDS.values()]}
