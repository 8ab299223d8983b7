"""`/metrics`, for Prometheus."""

import asyncio
import hmac

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from adapters.metrics.state_families import collect_state
from adapters.web.auth import get_caller, read_bearer, require_admin, require_local_request
from adapters.web.context import ContextDep, WebContext
from adapters.web.plugin_views import plugin_families

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def get_metrics(request: Request, context: ContextDep) -> Response:
    """Prometheus metrics, without prompts or names."""
    await _require_access(request, context)
    operations = context.usecases.operations
    counts, storage = await operations.count_by_state(), await operations.read_storage_state()
    plugins = plugin_families(await context.usecases.plugins.read_metrics())
    state = collect_state(counts, storage, operations.devices(), plugins)
    registry = context.metrics.registry
    # With many models, writing the text takes some tenths of a second.
    text = await asyncio.to_thread(lambda: generate_latest(registry) + generate_latest(state))
    return Response(text, media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


async def _require_access(request: Request, context: WebContext) -> None:
    """Accept `web.metrics_token`, an admin's key, and without a token any program on this machine.

    Raises: Unauthorized, AdminsOnly.
    """
    token, shown = context.settings.metrics_token, read_bearer(request)
    if token and shown and hmac.compare_digest(shown.encode("utf-8", "replace"), token.encode()):
        return
    if shown is None and not token and context.is_private:
        require_local_request(request, context)
        return
    require_admin(await get_caller(request, context, None))
