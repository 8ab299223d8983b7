"""Choosing models through the server that holds the lock, as an admin."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote as quoted

from adapters.cli.client.http import RemoteCaller

LOOK_EVERY_S = 0.5
_HUB_S = 120.0
"""The server may have to ask a hub first."""


@dataclass(frozen=True)
class RemoteManager:
    caller: RemoteCaller
    is_remote = True

    async def _ask(self, method: str, path: str, **more: Any) -> Any:
        return (await self.caller.ask(method, f"/api/v1/admin/models{path}", timeout=_HUB_S, **more)).json()

    async def terms(self, name: str) -> dict[str, Any]:
        body: dict[str, Any] = await self._ask("GET", f"/{quoted(name, safe='')}/terms", is_safe=True)
        return body

    async def use(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        begun: dict[str, Any] = await self._ask("POST", f"/{quoted(name, safe='')}/use", json=dict(body))
        return begun

    async def standing(self, name: str) -> dict[str, Any]:
        await asyncio.sleep(LOOK_EVERY_S)
        body: dict[str, Any] = await self._ask("GET", f"/{quoted(name, safe='')}/installation", is_safe=True)
        return body

    async def stop(self, name: str) -> None:
        await self._ask("DELETE", f"/{quoted(name, safe='')}/installation")

    async def picture(self, name: str) -> bytes:
        path = f"/api/v1/admin/models/{quoted(name, safe='')}/installation/picture"
        return (await self.caller.ask("GET", path, is_safe=True)).content

    async def add(self, body: Mapping[str, Any]) -> dict[str, Any]:
        added: dict[str, Any] = await self._ask("POST", "", json=dict(body))
        return added

    async def release(self) -> dict[str, Any]:
        body: dict[str, Any] = (await self.caller.ask("POST", "/api/v1/models/release", timeout=_HUB_S)).json()
        return body

    async def remove(self, name: str, *, keeps_files: bool) -> int:
        path = f"/{quoted(name, safe='')}?keep_files={str(keeps_files).lower()}"
        return int((await self._ask("DELETE", path))["freed_bytes"])
