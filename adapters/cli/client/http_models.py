"""Manages models through the server that holds the data lock, as an admin."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from adapters.cli.client.http import HttpClient

POLL_INTERVAL_S = 0.5
_DOWNLOAD_TIMEOUT_S = 6 * 3600.0
"""A LoRA or a file of Civitai is downloaded within the request."""
_SCAN_TIMEOUT_S = 1800.0
_HUB_TIMEOUT_S = 120.0
"""The server may have to query a hub first."""


@dataclass(frozen=True)
class HttpModelClient:
    client: HttpClient
    is_remote = True

    async def _send_request(self, method: str, path: str, **more: Any) -> Any:
        return (
            await self.client.send_request(method, f"/api/v1/admin/models{path}", timeout=_HUB_TIMEOUT_S, **more)
        ).json()

    async def read_terms(self, name: str, formats: Mapping[str, str]) -> dict[str, Any]:
        path = f"/{quote(name, safe='')}/terms?{urlencode(formats)}"
        body: dict[str, Any] = await self._send_request("GET", path, is_safe=True)
        return body

    async def start_install(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        status: dict[str, Any] = await self._send_request("POST", f"/{quote(name, safe='')}/use", json=dict(body))
        return status

    async def use_adapter(self, name: str, adapter: str) -> dict[str, Any]:
        return await self.start_install(name, {"adapter": adapter})

    async def start_optimize(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        status: dict[str, Any] = await self._send_request("POST", f"/{quote(name, safe='')}/optimize", json=dict(body))
        return status

    async def remove_builds(self, name: str) -> int:
        return int((await self._send_request("DELETE", f"/{quote(name, safe='')}/builds"))["freed_bytes"])

    async def wait_for_status(self, name: str) -> dict[str, Any]:
        await asyncio.sleep(POLL_INTERVAL_S)
        body: dict[str, Any] = await self._send_request("GET", f"/{quote(name, safe='')}/installation", is_safe=True)
        return body

    async def cancel_install(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = await self._send_request("DELETE", f"/{quote(name, safe='')}/installation")
        return status

    async def read_test_image(self, name: str) -> bytes:
        path = f"/api/v1/admin/models/{quote(name, safe='')}/installation/picture"
        return (await self.client.send_request("GET", path, is_safe=True)).content

    async def add_model(self, body: Mapping[str, Any]) -> dict[str, Any]:
        response = await self.client.send_request(
            "POST", "/api/v1/admin/models", timeout=_DOWNLOAD_TIMEOUT_S, json=dict(body)
        )
        added: dict[str, Any] = response.json()
        return added

    async def scan_models(self, folder: str) -> dict[str, Any]:
        response = await self.client.send_request(
            "POST", "/api/v1/admin/models/scan", timeout=_SCAN_TIMEOUT_S, json={"folder": folder}
        )
        scanned: dict[str, Any] = response.json()
        return scanned

    async def unload_models(self) -> dict[str, Any]:
        body: dict[str, Any] = (
            await self.client.send_request("POST", "/api/v1/models/release", timeout=_HUB_TIMEOUT_S)
        ).json()
        return body

    async def remove_model(self, name: str, *, keep_files: bool) -> int:
        path = f"/{quote(name, safe='')}?keep_files={str(keep_files).lower()}"
        return int((await self._send_request("DELETE", path))["freed_bytes"])
