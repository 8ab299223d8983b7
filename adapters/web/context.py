"""The context of every request: the use cases, the settings, and whether the server is shutting down."""

import asyncio
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request

from adapters.metrics.prometheus_metrics import PrometheusMetrics
from adapters.web.job_waiters import JobWaiters
from adapters.web.settings import WebSettings
from adapters.web.uploads import UploadReceiver
from bot.usecases import AdapterContext, UseCases


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at `host`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


@dataclass(frozen=True)
class WebContext:
    """`closing` is set at shutdown: streams end, and their clients reconnect to the next server."""

    settings: WebSettings
    adapter_context: AdapterContext
    max_upload_bytes: int
    """Maximum size of an upload, bytes."""
    uploads: UploadReceiver
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    @cached_property
    def metrics(self) -> PrometheusMetrics:
        """Those of the server, or its own, where only HTTP is counted."""
        shared = self.usecases.operations.metrics
        return shared if isinstance(shared, PrometheusMetrics) else PrometheusMetrics()

    @cached_property
    def waiters(self) -> JobWaiters:
        return JobWaiters(self.closing)

    @property
    def usecases(self) -> UseCases:
        return self.adapter_context.usecases

    @property
    def is_private(self) -> bool:
        """Whether the server is reachable from this machine only."""
        return is_loopback(self.settings.host)

    async def has_keys(self) -> bool:
        """Whether a key is active."""
        return await self.usecases.people.has_keys()

    async def needs_key(self) -> bool:
        """Never cached: the first key takes effect immediately."""
        return not self.is_private or await self.usecases.people.is_locked()


def get_context(request: Request) -> WebContext:
    context: WebContext = request.app.state.context
    return context


ContextDep = Annotated[WebContext, Depends(get_context)]


__all__ = ["ContextDep", "WebContext", "WebSettings", "get_context", "is_loopback"]
