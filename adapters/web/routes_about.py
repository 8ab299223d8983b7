"""Commands, models and limits: `/api/v1/quota`, `/me`, `/models`, `/commands`."""

from typing import Any

from fastapi import APIRouter

from adapters.web.auth import CallerDep
from adapters.web.context import ContextDep
from adapters.web.schemas import ProblemInfo, QuotaInfo
from adapters.web.views import command_json, model_json, quota_json
from bot.commands import COMMANDS

router = APIRouter(prefix="/api/v1", tags=["about"], responses={"4XX": {"model": ProblemInfo}})


@router.get("/quota", response_model=QuotaInfo)
async def get_quota(context: ContextDep, caller: CallerDep) -> Any:
    """Today's quota in device-seconds; a `limit` of null is unlimited."""
    usecases = context.usecases
    return quota_json(await usecases.people.get_quota(caller.person, usecases.jobs.daily_allowance_s(caller.person)))


@router.get("/me")
async def get_me(caller: CallerDep) -> dict[str, Any]:
    """The caller's name, and whether the key has admin rights."""
    return {"name": caller.person.name, "admin": caller.is_admin}


@router.get("/models")
async def list_models(context: ContextDep, _caller: CallerDep) -> dict[str, list[dict[str, Any]]]:
    """The installed models; the first that supports a task is the default for it."""
    registry = context.usecases.models
    loaded = frozenset(name for status in context.usecases.operations.devices() for name in status.loaded)
    return {"models": [model_json(spec, registry, loaded) for spec in registry]}


@router.get("/commands")
async def list_commands(context: ContextDep, _caller: CallerDep) -> dict[str, list[dict[str, Any]]]:
    """The available commands, with each option's type, range and default."""
    registry, styles = context.usecases.models, context.usecases.styles
    return {"commands": [command_json(command, registry, styles) for command in COMMANDS.values()]}
