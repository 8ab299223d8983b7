"""What every request of the web adapter may reach: the use cases, the settings, and whether we are closing."""

import asyncio
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Annotated

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry, Counter

from adapters.web.settings import WebSettings
from bot.usecases import Surroundings, UseCases


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at `host`."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


class Figures:
    """What `/metrics` counts itself. A registry of its own, so that two servers in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "easel_http_requests",
            "Answered requests",
            ["method", "route", "status"],
            registry=self.registry,
        )


@dataclass(frozen=True)
class House:
    """`closing` is set when the server goes down: streams end, so that their clients come back to the next one."""

    settings: WebSettings
    surroundings: Surroundings
    max_upload: int
    """Largest upload, bytes."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    figures: Figures = field(default_factory=Figures)

    @property
    def usecases(self) -> UseCases:
        return self.surroundings.usecases

    @property
    def is_private(self) -> bool:
        """Only this machine can reach it."""
        return is_loopback(self.settings.host)

    async def has_keys(self) -> bool:
        """Asked anew each time: the first key locks the door at once, and revoking the last one opens it."""
        return await self.usecases.people.people.has_keys()

    async def needs_key(self) -> bool:
        return not self.is_private or await self.has_keys()


def the_house(request: Request) -> House:
    house: House = request.app.state.house
    return house


TheHouse = Annotated[House, Depends(the_house)]


__all__ = ["Figures", "House", "TheHouse", "WebSettings", "is_loopback", "the_house"]
