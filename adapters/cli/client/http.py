"""The house through the server that holds the lock: its REST and its `/internal`, with the lock file's secret."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote as quoted

import httpx

from adapters.cli.client.types import Order, Quoted
from adapters.cli.error_output import Failure
from adapters.cli.output import note, program
from adapters.cli.views import FINAL, JobBody
from bot.runtime.lock import Holder, read_holder

RETURN_WAIT_S = 60.0
"""How long a server that went away while a job was followed may take to come back."""
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_LOOK_EVERY_S = 0.5


@asynccontextmanager
async def open_remote(data_dir: Path, holder: Holder) -> AsyncIterator["RemoteCaller"]:
    # No proxy of the environment: the server is on this machine, and the secret is for nobody else.
    async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False, follow_redirects=False) as client:
        yield RemoteCaller(client, data_dir, holder)


class RemoteCaller:
    """Both a `Caller` and a `Keeper`."""

    def __init__(self, client: httpx.AsyncClient, data_dir: Path, holder: Holder) -> None:
        self._client = client
        self._data_dir = data_dir
        self._holder = holder

    # ------------------------------------------------------------ jobs

    async def upload(self, data: bytes) -> str:
        answer = await self.ask("POST", "/api/v1/media", files={"file": ("picture", data, "application/octet-stream")})
        return str(answer.json()["id"])

    async def quote(self, order: Order) -> Quoted:
        body = (await self.ask("POST", "/api/v1/quotes", json=_body(order))).json()
        return Quoted(int(body["jobs"]), body["eta_s"], str(body["quote"]))

    async def submit(self, order: Order, quote: str | None = None) -> list[str]:
        content = _body(order) | ({"quote": quote} if quote is not None else {})
        key = {"Idempotency-Key": str(uuid.uuid4())}
        body = (await self.ask("POST", "/api/v1/jobs", json=content, headers=key, is_safe=True)).json()
        return [str(job["id"]) for job in body.get("jobs") or [body]]

    async def job(self, job_id: str) -> JobBody:
        body: JobBody = (await self.ask("GET", _job(job_id), is_safe=True)).json()
        return body

    async def picture(self, media_id: str) -> bytes:
        return (await self.ask("GET", f"/api/v1/media/{quoted(media_id, safe='')}", is_safe=True)).content

    async def cancel(self, job_id: str) -> None:
        await self.ask("DELETE", _job(job_id), is_safe=True)

    async def follow(self, job_id: str) -> AsyncIterator[JobBody]:
        """Goes on with the next server when this one is stopped: the job is on disk."""
        job: JobBody = {}
        while job.get("state") not in FINAL:
            try:
                async with aclosing(self._events(job_id)) as events:
                    async for kind, content in events:
                        job = await self._after(job_id, job, kind, content)
                        yield job
                        if job["state"] in FINAL:
                            return
            except httpx.TransportError:
                pass
            await self._await_server(job_id)

    async def _after(self, job_id: str, job: JobBody, kind: str, content: Any) -> JobBody:
        """The job as one event leaves it."""
        if kind == "progress":
            progress = {"step": content["step"], "steps": content["steps"]}
            return {**job, "state": "running", "position": None, "eta_s": content["eta_s"], "progress": progress}
        return await self.job(job_id) if kind in ("result", "error") else content

    async def _events(self, job_id: str) -> AsyncGenerator[tuple[str, Any], None]:
        """Names and data of server-sent events, until the stream ends."""
        url, headers = self._holder.url, self._headers
        path = f"{_job(job_id)}/events"
        async with self._client.stream("GET", url.rstrip("/") + path, headers=headers) as answer:
            if answer.is_error:
                await answer.aread()
                raise _refusal(answer)
            name, data = "message", []
            async for line in answer.aiter_lines():
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

    async def _await_server(self, job_id: str) -> None:
        deadline = time.monotonic() + RETURN_WAIT_S
        await asyncio.sleep(_LOOK_EVERY_S)
        for attempt in range(10**6):
            holder = await asyncio.to_thread(read_holder, self._data_dir)
            if holder is not None and holder.url:
                self._holder = holder
                return
            if time.monotonic() > deadline:
                raise Failure(
                    f"The server stopped. Job {job_id} is kept and goes on with the next start; "
                    f"then `{program()} fetch {job_id}` gets its result.",
                    code="server_gone",
                )
            if attempt == 0:
                note("The server stopped: waiting for it to come back ...")
            await asyncio.sleep(_LOOK_EVERY_S)

    # ------------------------------------------------------------ chores

    async def create_key(self, person: str | None, *, is_admin: bool) -> dict[str, Any]:
        answer = await self.ask("POST", "/internal/keys", json={"person": person, "admin": is_admin})
        body: dict[str, Any] = answer.json()
        return body

    async def keys(self) -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = (await self.ask("GET", "/internal/keys", is_safe=True)).json()["keys"]
        return keys

    async def revoke_key(self, prefix: str) -> dict[str, Any]:
        answer = await self.ask("DELETE", f"/internal/keys/{quoted(prefix, safe='')}", is_safe=True)
        body: dict[str, Any] = answer.json()
        return body

    async def backup(self, path: Path) -> None:
        await self.ask("POST", "/internal/backup", json={"path": str(path)}, timeout=None)

    # ------------------------------------------------------------ asking

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._holder.secret}"}

    async def ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, is_safe: bool = False, **more: Any
    ) -> httpx.Response:
        """One request; tried once more when it `is_safe` to repeat. Raises: Failure."""
        try:
            return await self._ask_once(method, path, headers or {}, more)
        except httpx.TransportError:
            if is_safe:
                await asyncio.sleep(_LOOK_EVERY_S)
                holder = await asyncio.to_thread(read_holder, self._data_dir)
                self._holder = holder if holder is not None and holder.url else self._holder
                try:
                    return await self._ask_once(method, path, headers or {}, more)
                except httpx.TransportError as second:
                    error = second
            raise Failure(
                f"The server at {self._holder.url} does not answer ({type(error).__name__}). "
                f"Is it stopping? Try again, or see `{program()} doctor`.",
                code="server_gone",
            ) from error

    async def _ask_once(
        self, method: str, path: str, headers: Mapping[str, str], more: Mapping[str, Any]
    ) -> httpx.Response:
        url = self._holder.url.rstrip("/") + path
        answer = await self._client.request(method, url, headers={**self._headers, **headers}, **more)
        if not answer.is_success:
            raise _refusal(answer)
        return answer


def _job(job_id: str) -> str:
    return f"/api/v1/jobs/{quoted(job_id, safe='')}"


def _body(order: Order) -> dict[str, Any]:
    images = [{"id": image, "role": role} if role else image for image, role in order.images]
    return {"command": order.command, "options": dict(order.options), "images": images}


def _refusal(answer: httpx.Response) -> Failure:
    """What an `application/problem+json` says; another body is not shown, whoever sent it."""
    try:
        problem = answer.json()
        return Failure(str(problem["detail"]), code=str(problem["code"]), incident=str(problem.get("incident") or ""))
    except (ValueError, KeyError, TypeError):
        sentence = f"The server answered with something unexpected ({answer.status_code}): see `{program()} doctor`."
        return Failure(sentence, code="internal")
