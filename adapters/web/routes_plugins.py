"""`/api/v1/admin/plugins`: which plugins there are, and switching them. `/api/v1/plugins/panels`: what they show."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from adapters.web.auth import CallerDep, require_admin
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep
from adapters.web.parameters import body_of
from adapters.web.plugin_schemas import PluginBody
from adapters.web.plugin_views import panel_json
from adapters.web.schemas import ProblemInfo
from bot.jobs import Origin
from bot.plugins.plugin_states import state_body

router = APIRouter(prefix="/api/v1", responses={"4XX": {"model": ProblemInfo}})
_ADMIN = Depends(require_admin)


@router.get("/admin/plugins", tags=["admin"], dependencies=[_ADMIN])
async def list_plugins(context: ContextDep) -> dict[str, Any]:
    """All plugins, in the order in which they are called. `problem` says why one is not used, `last_error` which hook
    failed last."""
    states = await context.usecases.plugins.manager.list_states()
    return {"plugins": [state_body(state) for state in states]}


@router.put("/admin/plugins/{name}", tags=["admin"], dependencies=[_ADMIN], openapi_extra=body_of("PluginBody"))
async def switch_plugin(name: str, request: Request, context: ContextDep) -> dict[str, Any]:
    """Switch a plugin on or off, now and after every start. Switching it on reads its file anew."""
    body = await read_json(request, PluginBody)
    return state_body(await context.usecases.plugins.manager.set_enabled(name, body.enabled))


@router.get("/plugins/panels", tags=["about"])
async def list_panels(context: ContextDep, caller: CallerDep) -> dict[str, Any]:
    """What plugins show to the caller on the page, as plain text."""
    origin = Origin(platform="web", space_id="web", account_id=caller.person.id, is_admin=caller.is_admin)
    panels = await context.usecases.plugins.list_panels(caller.person, origin)
    return {"panels": [panel_json(plugin, panel) for plugin, panel in panels]}
