"""Commands, models and limits: `/api/v1/quota`, `/me`, `/models`, `/commands`."""

from typing import Any

from fastapi import APIRouter, Request, Response

from adapters.web.auth import CallerDep
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep
from adapters.web.parameters import body_of
from adapters.web.plugin_views import plugin_command_json
from adapters.web.schemas import ForgetBody, ProblemInfo, QuotaInfo
from adapters.web.session_cookie import clear_cookie
from adapters.web.views import command_json, model_json, quota_json
from bot.commands import COMMANDS
from bot.errors import InvalidOption

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


@router.delete("/me", status_code=204, openapi_extra=body_of("ForgetBody"))
async def forget_me(request: Request, response: Response, context: ContextDep, caller: CallerDep) -> None:
    """Permanently delete everything that is kept about the caller: history, images, settings, keys, sessions, and that
    of all linked accounts. Open jobs are cancelled. `confirm` must be true; also `linked` if accounts are linked."""
    body = await read_json(request, ForgetBody)
    if not body.confirm:
        raise InvalidOption("confirm", "confirm_forget")
    await context.usecases.people.forget_person(caller.person, with_linked=body.linked)
    clear_cookie(response, request.scope, request.headers)


@router.get("/models")
async def list_models(context: ContextDep, _caller: CallerDep) -> dict[str, list[dict[str, Any]]]:
    """The installed models; the first that supports a task is the default for it."""
    registry = context.usecases.models
    loaded = frozenset(name for status in context.usecases.operations.devices() for name in status.loaded)
    adapters = context.usecases.adapters
    await adapters.refresh()
    return {"models": [model_json(spec, registry, loaded, adapters.usable_names(spec)) for spec in registry]}


@router.get("/commands")
async def list_commands(context: ContextDep, _caller: CallerDep) -> dict[str, list[dict[str, Any]]]:
    """The available commands, with each option's type, range and default; those of plugins name their `plugin`."""
    registry, styles = context.usecases.models, context.usecases.styles
    own = [plugin_command_json(command) for command in context.usecases.plugins.commands]
    return {"commands": [*(command_json(command, registry, styles) for command in COMMANDS.values()), *own]}
