"""Calls the server that holds the data lock: its REST API and `/internal`, with the lock file's secret."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from adapters.cli.client.types import JobRequest, PriceQuote
from adapters.cli.error_output import Failure
from adapters.cli.output import print_note, program_name
from adapters.cli.views import FINAL, RETIRED_HEADER, JobBody
from bot.jobs import ImageRef
from bot.runtime.lock import LockHolder, changed_sentence, read_holder

RECONNECT_TIMEOUT_S = 60.0
"""How long to wait for a server that stopped while a job was followed."""
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_POLL_INTERVAL_S = 0.5
PEOPLE = "/api/v1/admin/people"


@asynccontextmanager
async def open_http_client(data_dir: Path, holder: LockHolder) -> AsyncIterator["HttpClient"]:
    # Proxies of the environment are ignored: the server is on this machine, and nobody else may see the secret.
    async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, follow_redirects=False) as client:
        yield HttpClient(client, data_dir, holder)


class HttpClient:
    """Implements both `JobClient` and `AdminClient`."""

    def __init__(self, client: httpx.AsyncClient, data_dir: Path, holder: LockHolder) -> None:
        self._client = client
        self._data_dir = data_dir
        self._holder = holder
        self._is_waiting = False

    async def is_current(self) -> bool:
        """Whether the server that it calls still holds the data lock."""
        return await asyncio.to_thread(read_holder, self._data_dir) == self._holder

    # ------------------------------------------------------------ jobs

    async def upload_image(self, data: bytes) -> str:
        response = await self.send_request(
            "POST", "/api/v1/media", files={"file": ("picture", data, "application/octet-stream")}
        )
        return str(response.json()["id"])

    async def quote_price(self, request: JobRequest) -> PriceQuote:
        body = (await self.send_request("POST", "/api/v1/quotes", json=_request_body(request))).json()
        return PriceQuote(int(body["jobs"]), body["eta_s"], str(body["quote"]))

    async def submit_jobs(self, request: JobRequest, quote_token: str | None = None) -> list[str]:
        content = _request_body(request) | ({"quote": quote_token} if quote_token is not None else {})
        key = {"Idempotency-Key": str(uuid.uuid4())}
        body = (await self.send_request("POST", "/api/v1/jobs", json=content, headers=key, is_safe=True)).json()
        if "id" not in body and "text" in body:
            from bot.usecases import PluginAnswer

            raise PluginAnswer(str(body["text"]))
        return [str(job["id"]) for job in body.get("jobs") or [body]]

    async def read_job(self, job_id: str) -> JobBody:
        body: JobBody = (await self.send_request("GET", _job_path(job_id), is_safe=True)).json()
        return body

    async def read_batch(self, batch_id: str) -> dict[str, Any]:
        body: dict[str, Any] = (await self.send_request("GET", _batch_path(batch_id), is_safe=True)).json()
        return body

    async def cancel_batch(self, batch_id: str) -> dict[str, Any]:
        body: dict[str, Any] = (await self.send_request("DELETE", _batch_path(batch_id), is_safe=True)).json()
        return body

    async def read_image(self, media_id: str) -> bytes:
        return (await self.send_request("GET", f"/api/v1/media/{quote(media_id, safe='')}", is_safe=True)).content

    async def cancel_job(self, job_id: str) -> None:
        await self.send_request("DELETE", _job_path(job_id), is_safe=True)

    async def correct_job(self, job_id: str, text: str, *, consent: bool) -> dict[str, Any]:
        content = {"text": text, "consent": consent}
        path = f"{_job_path(job_id)}/correction"
        saved: dict[str, Any] = (await self.send_request("POST", path, json=content, is_safe=True)).json()
        return saved

    async def delete_correction(self, job_id: str) -> list[str]:
        answer = await self.send_request("DELETE", f"{_job_path(job_id)}/correction", is_safe=True)
        return [name for name in answer.headers.get(RETIRED_HEADER, "").split(", ") if name]

    async def list_jobs(
        self, q: str, *, before: str | None, limit: int, by_meaning: bool = False
    ) -> tuple[list[JobBody], str | None, bool]:
        params = {"q": q, "limit": str(limit)} | ({"before": before} if before is not None else {})
        params |= {"meaning": "true", "refine": "true"} if by_meaning else {}
        body = (await self.send_request("GET", "/api/v1/jobs", params=params, is_safe=True)).json()
        return body["jobs"], body["next"], body.get("refined") is not False

    async def export_images(
        self, jobs: Sequence[str] | None, pictures: Sequence[tuple[str, int]]
    ) -> AsyncIterator[bytes]:
        content = {"jobs": jobs, "pictures": [{"job": job, "n": number} for job, number in pictures]}
        url = f"{self._holder.url.rstrip('/')}/api/v1/export"
        try:
            async with self._client.stream("POST", url, json=content, headers=self._headers) as response:
                if response.is_error:
                    await response.aread()
                    raise self._to_failure(response)
                async for chunk in response.aiter_bytes():
                    yield chunk
        except httpx.TransportError as error:
            raise Failure("The server stopped during the export: try again.", code="server_gone") from error

    async def follow_job(self, job_id: str, *, wants_previews: bool = True) -> AsyncIterator[JobBody]:
        """Reconnects when the server was restarted: the job is on disk. `wants_previews`: its text as it is written."""
        job: JobBody = {}
        while job.get("state") not in FINAL:
            try:
                async with aclosing(self._read_events(job_id, wants_previews)) as events:
                    async for name, content in events:
                        job = await self._apply_event(job_id, job, name, content)
                        yield job
                        if job["state"] in FINAL:
                            return
            except httpx.TransportError:
                pass
            await self._wait_for_server(job_id)

    async def _apply_event(self, job_id: str, job: JobBody, name: str, content: Any) -> JobBody:
        """The job after one event."""
        if name == "progress":
            progress = {name: content.get(name) for name in ("phase", "step", "steps", "text")}
            return {**job, "state": "running", "position": None, "eta_s": content["eta_s"], "progress": progress}
        return await self.read_job(job_id) if name in ("result", "error") else content

    async def _read_events(self, job_id: str, wants_previews: bool) -> AsyncGenerator[tuple[str, Any], None]:
        """Name and data of each server-sent event, until the stream ends."""
        url, headers = self._holder.url, self._headers
        path = f"{_job_path(job_id)}/events{'' if wants_previews else '?previews=false'}"
        async with self._client.stream("GET", url.rstrip("/") + path, headers=headers) as response:
            if response.is_error:
                await response.aread()
                raise self._to_failure(response)
            name, data = "message", []
            async for line in response.aiter_lines():
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if field == "event":
                    name = value
                elif field == "data":
                    data.append(value)
                elif not line:
                    if data:
                        yield name, json.loads("\n".join(data))
                    name, data = "message", []

    async def _wait_for_server(self, job_id: str) -> None:
        deadline = time.monotonic() + RECONNECT_TIMEOUT_S
        await asyncio.sleep(_POLL_INTERVAL_S)
        while True:
            holder = await asyncio.to_thread(read_holder, self._data_dir)
            if holder is not None and holder.url:
                self._holder, self._is_waiting = holder, False
                return
            if time.monotonic() > deadline:
                raise Failure(
                    f"The server stopped. Job {job_id} is saved and continues at the next start; "
                    f"`{program_name()} fetch {job_id}` then gets its result.",
                    code="server_gone",
                )
            if not self._is_waiting:  # for another job
                print_note("The server stopped; waiting for it to restart ...")
                self._is_waiting = True
            await asyncio.sleep(_POLL_INTERVAL_S)

    # ------------------------------------------------------------ administration

    async def create_key(self, person: str | None, *, is_admin: bool) -> dict[str, Any]:
        response = await self.send_request("POST", "/internal/keys", json={"person": person, "admin": is_admin})
        body: dict[str, Any] = response.json()
        return body

    async def list_keys(self) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = (await self.send_request("GET", "/internal/keys", is_safe=True)).json()["keys"]
        return keys

    async def revoke_key(self, prefix: str) -> dict[str, Any]:
        response = await self.send_request("DELETE", f"/internal/keys/{quote(prefix, safe='')}", is_safe=True)
        body: dict[str, Any] = response.json()
        return body

    async def list_people(self, q: str) -> list[dict[str, Any]]:
        page = (await self.send_request("GET", PEOPLE, params={"q": q, "limit": 100}, is_safe=True)).json()
        shown = ("id", "name", "accounts", "jobs", "blocked")
        return [{name: one[name] for name in shown} for one in page["people"]]

    async def set_blocked(self, person_id: str, *, is_blocked: bool) -> dict[str, Any]:
        path, method = f"{PEOPLE}/{quote(person_id, safe='')}/block", "PUT" if is_blocked else "DELETE"
        body: dict[str, Any] = (await self.send_request(method, path, is_safe=True)).json()
        return body

    async def unlock(self) -> dict[str, Any]:
        body: dict[str, Any] = (await self.send_request("POST", "/internal/unlock", is_safe=True)).json()
        return body

    async def backup_database(self, path: Path) -> None:
        await self.send_request("POST", "/internal/backup", json={"path": str(path)}, timeout=None)

    # ------------------------------------------------------------ requests

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._holder.secret}"}

    async def send_request(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, is_safe: bool = False, **more: Any
    ) -> httpx.Response:
        """Send one request, and repeat it once if it `is_safe` to repeat. Raises: Failure."""
        try:
            return await self._send_once(method, path, headers or {}, more)
        except httpx.TransportError as first:
            error = first
            if is_safe:
                await asyncio.sleep(_POLL_INTERVAL_S)
                holder = await asyncio.to_thread(read_holder, self._data_dir)
                self._holder = holder if holder is not None and holder.url else self._holder
                try:
                    return await self._send_once(method, path, headers or {}, more)
                except httpx.TransportError as second:
                    error = second
            raise Failure(
                f"The server at {self._holder.url} does not respond ({type(error).__name__}). "
                f"It may be stopping: try again, or run `{program_name()} doctor`.",
                code="server_gone",
            ) from error

    async def _send_once(
        self, method: str, path: str, headers: Mapping[str, str], more: Mapping[str, Any]
    ) -> httpx.Response:
        url = self._holder.url.rstrip("/") + path
        response = await self._client.request(method, url, headers={**self._headers, **headers}, **more)
        if not response.is_success:
            raise self._to_failure(response)
        return response

    def _to_failure(self, response: httpx.Response) -> Failure:
        """The detail of an `application/problem+json` response; any other body is not shown."""
        if response.status_code == 401:  # the secret is that of the lock's file
            return Failure(changed_sentence(self._data_dir), code="unauthorized")
        try:
            problem = response.json()
            incident = str(problem.get("incident") or "")
            return Failure(str(problem["detail"]), code=str(problem["code"]), incident=incident)
        except (ValueError, KeyError, TypeError):
            sentence = (
                f"The server sent an unexpected response ({response.status_code}): run `{program_name()} doctor`."
            )
            return Failure(sentence, code="internal")


def _batch_path(batch_id: str) -> str:
    return f"/api/v1/batches/{quote(batch_id, safe='')}"


def _job_path(job_id: str) -> str:
    return f"/api/v1/jobs/{quote(job_id, safe='')}"


def _request_body(request: JobRequest) -> dict[str, Any]:
    images = [image_body(image) for image in request.images]
    return {"command": request.command, "options": dict(request.options), "images": images}


def image_body(image: ImageRef) -> dict[str, Any]:
    plain = ImageRef(image.id)
    said = {name: getattr(image, name) for name in ("kind", "weight", "start", "end", "ready")}
    return {"id": image.id, "role": image.role} | {n: one for n, one in said.items() if one != getattr(plain, n)}
