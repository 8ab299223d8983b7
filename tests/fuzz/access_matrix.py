"""The two-person matrix: Ben asks every route for what is Ann's, and gets 404 or 403, or lists without it."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import httpx2
from fastapi import APIRouter
from fastapi.routing import APIRoute

from adapters import web
from tests.fuzz.findings import Findings
from tests.fuzz.target import FuzzTarget
from tests.web.api_client import imagine, make, upload
from tests.web.fake_pool import picture

SECRET_WORDS = "an unmistakable heron"
OWNED = ("job_id", "media_id", "batch_id", "collection_id")
"""Path parameters that identify something of a person's; all others are of admins, but the number of a picture."""
PICTURE = "n"
LASTING = {"/api/v1/events"}
"""A stream without an end; `tests/web/test_person_events.py` reads it as another person."""
PUBLIC = {
    "/", "/docs", "/openapi.json", "/favicon.ico", "/healthz", "/readyz", "/metrics", "/static",
    "/static/{version}", "/static/{version}/{path:path}", "/texts/{language}", "/p/{job}/{number}", "/edit/{media}",
    "/grid/{batch}",
}  # fmt: skip
"""Also the page's own addresses, whatever they name: the page asks for that itself."""
BODIES = {"collection": {"name": "x"}, "correction": {"text": "a lynx", "consent": True}}
"""By a word of the path, bodies that are valid; others may be empty."""
OWN = {"/api/v1/link/{platform}"}
"""Their parameters identify something of the caller's."""


def list_routes() -> Iterator[tuple[str, str]]:
    """Method and path of every route, hidden ones included."""
    for module in pkgutil.iter_modules(web.__path__):
        if not module.name.startswith("routes_"):
            continue
        for router in vars(importlib.import_module(f"{web.__name__}.{module.name}")).values():
            for route in router.routes if isinstance(router, APIRouter) else ():
                if isinstance(route, APIRoute):
                    yield from ((method, route.path) for method in sorted(route.methods or ()))


async def _make_owned(client: httpx2.AsyncClient) -> dict[str, list[str]]:
    """Ann's things, by the name of the path parameter."""
    sent = await upload(client, picture(5, 48, 32))
    made = await make(client, imagine(SECRET_WORDS))
    from_image = {**imagine(SECRET_WORDS), "images": [sent["id"]]}
    edited = await make(client, from_image)
    media = [one["id"] for job in (made, edited) for one in job["result"]["media"]]
    several = imagine("a {red|blue} fox")
    quote = (await client.post("/api/v1/quotes", json=several)).json()["quote"]
    batch = (await client.post("/api/v1/jobs", json={**several, "quote": quote})).json()["batch"]
    collection = (await client.post("/api/v1/collections", json={"name": SECRET_WORDS})).json()["id"]
    return {
        "job_id": [made["id"], edited["id"]],
        "media_id": [sent["id"], *media],
        "batch_id": [batch],
        "collection_id": [collection],
    }


def _bodies(owned: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
    """Requests that name what is Ann's."""
    for media in owned["media_id"]:
        yield {**imagine("a fox"), "images": [media]}
        yield {"command": "caption", "images": [{"id": media, "role": "init"}]}
    for job in owned["job_id"]:
        yield {**imagine("a fox"), "parent": job}


async def check_access_matrix(target: FuzzTarget, findings: Findings) -> None:
    async with target.open_client(target.ann) as ann, target.open_client(target.ben) as ben:
        owned = await _make_owned(ann)
        for method, path in list_routes():
            if path in LASTING:
                continue
            await _check_route(ben, findings, method, path, owned)
        for path in ("/api/v1/jobs", "/api/v1/quotes"):
            for body in _bodies(owned):
                answer = await ben.post(path, json=body)
                findings.count(answer.status_code, body)
                findings.expect(answer.status_code in (403, 404), f"POST {path} with {body}: {answer.status_code}")
        await _check_tokens(ann, ben, findings)
        await _check_still_there(ann, findings, owned)


async def _check_tokens(ann: httpx2.AsyncClient, ben: httpx2.AsyncClient, findings: Findings) -> None:
    """An idempotency key and a confirmed price are worth nothing to another person."""
    key = {"Idempotency-Key": "the-same-for-both"}
    jobs = [(await one.post("/api/v1/jobs", json=imagine("a fox"), headers=key)).json() for one in (ann, ben)]
    findings.expect(jobs[0]["id"] != jobs[1]["id"], "Ben's idempotency key finds Ann's job")
    several = imagine("a {red|blue} fox")
    quote = (await ann.post("/api/v1/quotes", json=several)).json()["quote"]
    answer = await ben.post("/api/v1/jobs", json={**several, "quote": quote})
    findings.count(answer.status_code, several)
    findings.expect(answer.status_code == 422, f"Ann's quote in Ben's request: {answer.status_code}")


async def _check_route(
    ben: httpx2.AsyncClient, findings: Findings, method: str, path: str, owned: dict[str, list[str]]
) -> None:
    parameters = re.findall(r"{(\w+)", path)
    named = [name for name in parameters if name in OWNED]
    for value in owned[named[0]] if named else ["x"]:
        address = re.sub(r"{\w+(:\w+)?}", value, path.replace(f"{{{PICTURE}}}", "1"))
        body = next((one for word, one in BODIES.items() if word in path), {})
        answer = await ben.request(method, address, json=body if method in ("POST", "PUT", "PATCH") else None)
        findings.count(answer.status_code, address)
        shown = f"{method} {path}: {answer.status_code}"
        if named:
            findings.expect(answer.status_code in (403, 404), shown)
        elif path.startswith("/internal/"):
            findings.expect(answer.status_code == 401, shown)
        elif "/admin/" in path or path == "/metrics":
            findings.expect(answer.status_code in (401, 403), shown)
        else:
            findings.expect(
                not parameters or path in PUBLIC | OWN, f"{method} {path} has a parameter of an unknown kind"
            )
            findings.expect(answer.status_code < 500, shown)
        words = {SECRET_WORDS, *(one for some in owned.values() for one in some)} - {value}
        findings.expect(not any(word in answer.text for word in words), f"{shown} shows what is Ann's")


async def _check_still_there(ann: httpx2.AsyncClient, findings: Findings, owned: dict[str, list[str]]) -> None:
    addresses = [f"/api/v1/jobs/{job}" for job in owned["job_id"]]
    addresses += [f"/api/v1/media/{media}" for media in owned["media_id"]]
    addresses += [f"/api/v1/batches/{batch}" for batch in owned["batch_id"]]
    for address in addresses:
        answer = await ann.get(address)
        findings.expect(answer.status_code == 200, f"Ann's own {address}: {answer.status_code}")
