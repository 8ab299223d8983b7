"""Helpers for tests of REST."""

import asyncio
import json
from typing import Any

import httpx2

IMAGINE = {"command": "imagine", "options": {"prompt": "a red circle"}}
FINAL = {"delivered", "failed", "cancelled", "dead"}


def imagine(prompt: str = "a red circle", **options: Any) -> dict[str, Any]:
    return {"command": "imagine", "options": {"prompt": prompt, **options}}


async def ask(client: httpx2.AsyncClient, body: Any = IMAGINE, **headers: str) -> dict[str, Any]:
    """Submit a job; returns the accepted job."""
    answer = await client.post("/api/v1/jobs", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def job_of(client: httpx2.AsyncClient, job_id: str) -> dict[str, Any]:
    return (await client.get(f"/api/v1/jobs/{job_id}")).json()


async def wait_for(client: httpx2.AsyncClient, job_id: str, *states: str) -> dict[str, Any]:
    """The job once it is in one of the states (default: finished)."""
    async with asyncio.timeout(30):
        while (job := await job_of(client, job_id))["state"] not in (states or FINAL):  # noqa: ASYNC110 - the server is polled
            await asyncio.sleep(0.02)
    return job


async def make(client: httpx2.AsyncClient, body: Any = IMAGINE) -> dict[str, Any]:
    """Submit a job and wait until it is finished."""
    return await wait_for(client, (await ask(client, body))["id"])


async def upload(client: httpx2.AsyncClient, data: bytes) -> dict[str, Any]:
    answer = await client.post("/api/v1/media", files={"file": ("picture", data)})
    assert answer.status_code == 201, answer.text
    return answer.json()


async def events_of(client: httpx2.AsyncClient, job_id: str, **headers: str) -> list[dict[str, Any]]:
    """Every event up to the end of the stream: name, id (or None), data."""
    async with client.stream("GET", f"/api/v1/jobs/{job_id}/events", headers=headers) as stream:
        assert stream.status_code == 200
        return [event async for event in parsed(stream)]


async def parsed(stream: httpx2.Response) -> Any:
    event: dict[str, Any] = {}
    async for line in stream.aiter_lines():
        if not line and "data" in event:
            yield {"name": event["event"], "id": event.get("id"), "data": json.loads(event["data"])}
            event = {}
        name, _, value = line.partition(": ")
        event[name] = value


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Check that a response is a problem, and return it."""
    assert answer.headers["content-type"] == "application/problem+json"
    content = answer.json()
    assert (answer.status_code, content["status"], content["code"]) == (status, status, code), content
    assert content["type"] == f"/docs#{code}"
    assert content["title"]
    assert content["detail"]
    return content
