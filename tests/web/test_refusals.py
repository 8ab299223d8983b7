"""Invalid requests are refused with the field's name, as a problem with a stable code."""

import asyncio
import json
import logging
import time

import pytest
import structlog

from adapters.web import bodies
from tests.web.api_client import IMAGINE, imagine, make, problem

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def server(shared_server):
    return shared_server


@pytest.fixture
def client(shared_client):
    return shared_client


JSON = {"Content-Type": "application/json"}
UNKNOWN_ID = "0" * 64


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/jobs", "GET, POST"),
        ("/api/v1/jobs/aaaaaaaaaaaaaaaa", "DELETE, GET"),
        ("/api/v1/quota", "GET"),
        ("/healthz", "GET, HEAD"),
    ],
)
async def test_an_unsupported_method_is_answered_with_all_that_are_supported(client, path, allowed):
    answer = await client.request("PATCH", path)

    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


async def test_openapi_describes_every_refusal_as_a_problem(client):
    api = (await client.get("/openapi.json")).json()

    for methods in api["paths"].values():
        for operation in methods.values():
            assert list(operation["responses"]["4XX"]["content"]) == ["application/problem+json"]
            assert "422" not in operation["responses"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": "  \u200b\u202e\0 "}, "prompt"),
        ({"prompt": "x" * 10_000}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": ["a"]}, "prompt"),
        ({"prompt": "x", "setps": 5}, "setps"),
        ({"prompt": "x", "steps": 0}, "steps"),
        ({"prompt": "x", "steps": 51}, "steps"),
        ({"prompt": "x", "steps": 10**400}, "steps"),
        ({"prompt": "x", "steps": "many"}, "steps"),
        ({"prompt": "x", "steps": 2.5}, "steps"),
        ({"prompt": "x", "steps": True}, "steps"),
        ({"prompt": "x", "seed": -1}, "seed"),
        ({"prompt": "x", "seed": 2**32}, "seed"),
        ({"prompt": "x", "count": 5}, "count"),
        ({"prompt": "x", "guidance_scale": 31}, "guidance_scale"),
        ({"prompt": "x", "guidance_scale": {}}, "guidance_scale"),
        ({"prompt": "x", "width": 100_000}, "width"),
        ({"prompt": "x", "width": 65}, "width"),
        ({"prompt": "x", "sampler": "magic"}, "sampler"),
        ({"prompt": "x", "sampler": "lcm"}, "sampler"),
        ({"prompt": "x", "strength": 0.5}, "strength"),
        ({"prompt": "x", "model": "unheard-of"}, "model"),
        ({"prompt": "x", "model": "no\ud800such"}, "model"),
        ({"prompt": "x", "\ud800stops": 1}, "stops"),
        ({"prompt": "{a|b|c|d|e}{a|b|c|d|e}{a|b|c|d|e}"}, "prompt"),
    ],
)
async def test_a_wrong_option_is_refused_by_name(client, options, named):
    body = json.dumps({"command": "imagine", "options": options})

    answer = await client.post("/api/v1/jobs", content=body, headers=JSON)

    refusal = problem(answer, 422, "invalid_option")
    assert refusal["option"].strip("?") == named


async def test_a_refusal_suggests_the_right_option(client):
    answer = await client.post("/api/v1/jobs", json=imagine(setps=5))

    refusal = problem(answer, 422, "invalid_option")
    assert refusal["nearest"] == "steps"
    assert "guidance_scale" in refusal["allowed"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("option", ["seed", "steps", "guidance_scale", "width"])
async def test_numbers_that_are_not_finite_are_refused(client, option, number):
    body = f'{{"command": "imagine", "options": {{"prompt": "x", "{option}": {number}}}}}'

    answer = await client.post("/api/v1/jobs", content=body, headers=JSON)

    assert problem(answer, 422, "invalid_option")["option"] == option


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b'{"command": "imagine",}', "body"),
        (b"\xff\xfe\xfa", "body"),
        (b"[]", "body"),
        (b'"imagine"', "body"),
        (b"null", "body"),
        (b"[" * 100_000, "body"),
        (b"{}", "command"),
        (b'{"command": 7}', "command"),
        (b'{"command": "imagine", "command": "ask"}', "command"),
        (b'{"command": "imagine", "options": []}', "options"),
        (b'{"command": "imagine", "options": {"prompt": "x"}, "image": []}', "image"),
        (b'{"command": "imagine", "options": {"prompt": "x"}, "images": "x"}', "images"),
        (
            b'{"command": "imagine", "options": {"prompt": "x"}, "images": [{"id": "x", "rule": "init"}]}',
            "images.0.rule",
        ),
        (b'{"command": "imagine", "options": {"prompt": "x"}, "images": [{"role": "init"}]}', "images.0.id"),
        (b'{"command": "imagine", "options": {"prompt": "x"}, "images": [7]}', "images.0"),
        (b'{"command": "imagine", "options": {"prompt": "x"}, "quote": 7}', "quote"),
        (b'{"command": "imagine", "options": {"prompt": "x"}, "quote": "\xc3\xa9"}', "quote"),
        (b'{"command": "unheard-of"}', "command"),
        (b'{"command": "\\ud800"}', "command"),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/quotes"])
async def test_a_wrong_body_is_refused_by_name(client, path, body, named):
    answer = await client.post(path, content=body, headers=JSON)

    assert problem(answer, 422, "invalid_option")["option"] == named


async def test_a_misspelt_command_is_recognised(client):
    answer = await client.post("/api/v1/jobs", json={"command": "imagin", "options": {"prompt": "x"}})

    assert "imagine" in problem(answer, 422, "invalid_option")["detail"]


@pytest.mark.parametrize(
    ("images", "status", "code"),
    [
        ([], 422, "invalid_option"),
        ([UNKNOWN_ID], 404, "not_found"),
        (["../../etc/passwd"], 404, "not_found"),
        (["\ud800"], 404, "not_found"),
        ([UNKNOWN_ID, UNKNOWN_ID], 404, "not_found"),
        ([{"id": UNKNOWN_ID, "role": "mask"}], 422, "invalid_option"),
    ],
)
async def test_a_question_needs_pictures_of_the_callers_own(client, images, status, code):
    body = {"command": "ask", "options": {"question": "What is it?"}, "images": images}

    answer = await client.post("/api/v1/jobs", content=json.dumps(body), headers=JSON)

    problem(answer, status, code)


async def test_a_body_beyond_the_limit_is_refused(client):
    answer = await client.post("/api/v1/jobs", json=imagine("x" * 300_000))

    problem(answer, 413, "too_large")


async def test_a_body_without_a_length_is_counted_as_it_comes(client):
    async def endless():
        for _ in range(1000):
            yield b" " * 4096

    answer = await client.post("/api/v1/jobs", content=endless(), headers=JSON)

    problem(answer, 413, "too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_a_body_that_an_html_form_can_send_is_refused(client, kind):
    answer = await client.post("/api/v1/jobs", content=b"{}", headers={"Content-Type": kind})

    problem(answer, 415, "unsupported_media")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/jobs/aaaaaaaaaaaaaaaa",
        "/api/v1/jobs/aaaaaaaaaaaaaaaa/events",
        "/api/v1/jobs/aaa",
        "/api/v1/jobs/AAAA",
        "/api/v1/jobs/%00%ff",
        "/api/v1/jobs/a%2Fb",
        f"/api/v1/media/{UNKNOWN_ID}",
        "/api/v1/media/..%2F..%2Fetc%2Fpasswd",
        "/api/v1/nothing",
        "/nothing",
        "/static/../app.py",
    ],
)
async def test_unknown_urls_are_not_found(client, path):
    problem(await client.get(path), 404, "not_found")


@pytest.mark.parametrize(("method", "path"), [("PUT", "/api/v1/jobs"), ("POST", "/api/v1/quota"), ("DELETE", "/")])
async def test_another_method_is_refused(client, method, path):
    answer = await client.request(method, path)

    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]


async def test_an_unexpected_error_has_an_incident_and_shows_nothing(client, server, monkeypatch):
    async def broken(*_):
        raise RuntimeError("the inner secret")

    monkeypatch.setattr(type(server.storage.ledger), "daily_usage", broken)
    with structlog.testing.capture_logs() as logs:
        answer = await client.get("/api/v1/quota")

    refusal = problem(answer, 500, "internal")
    [logged] = [entry for entry in logs if entry["action"] == "web.failed"]
    assert refusal["incident"] == logged["incident"]
    assert refusal["incident"] in refusal["detail"]
    assert "inner secret" not in answer.text
    assert isinstance(logged["exc_info"], RuntimeError)


async def test_a_failing_engine_is_reported_without_its_reason(client):
    job = await make(client, imagine("fail"))

    assert (job["state"], job["error"]["code"]) == ("failed", "engine_failed")
    assert job["error"]["incident"] in job["error"]["message"]
    assert "secret inner reason" not in str(job)


async def test_no_prompt_is_in_the_metrics_or_above_debug_in_the_log(client, caplog):
    caplog.set_level(logging.INFO)
    with structlog.testing.capture_logs() as logs:
        await make(client, imagine("zebracorn"))
        await client.get("/api/v1/jobs", params={"q": "zebracorn"})

    assert "zebracorn" not in (await client.get("/metrics")).text
    assert "zebracorn" not in str([entry for entry in caplog.records if not entry.name.startswith("httpx")])
    assert "zebracorn" not in str([entry for entry in logs if entry["log_level"] != "debug"])


async def test_a_client_that_disconnects_within_a_body_does_no_harm(client, server):
    host, port = server.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /api/v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: 500\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await make(client, IMAGINE))["state"] == "delivered"


# ---------------------------------------------------------------- limits before work

MARKS = "\u0315" * 10_000 + "\u0323" * 10_000
"""40 KB that normalizing sorts."""


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/quotes"])
@pytest.mark.parametrize(
    ("body", "named"),
    [
        (imagine(MARKS), "prompt"),
        (imagine("a fox", negative_prompt=MARKS), "negative_prompt"),
        (imagine("a fox", style=MARKS), "style"),
        (imagine("a fox", **{MARKS: 1}), None),
        ({"command": MARKS, "options": {}}, "command"),
        ({"command": "imagine", "options": {}, MARKS: 1}, None),
        ({"command": "imagine", "options": {}, "quote": MARKS}, "quote"),
        ({"command": "imagine", "options": {}, "parent": MARKS}, "parent"),
        ({"command": "imagine", "options": {}, "images": [MARKS]}, "images"),
        ({"command": "imagine", "options": {}, "images": ["0" * 64] * 33}, "images"),
    ],
)
async def test_every_text_of_a_body_is_bounded_before_it_is_read(client, path, body, named):
    content = json.dumps(body, ensure_ascii=False).encode()
    began = time.process_time()
    answer = await client.post(path, content=content, headers=JSON)

    refusal = problem(answer, 422, "invalid_option")
    assert named is None or refusal["option"] == named
    assert len(answer.content) < 2000
    assert time.process_time() - began < 0.4  # 0.7 s and more, without a limit


@pytest.mark.parametrize("images", [[1] * 100_000, [{}] * 80_000, [{"a": 1}] * 25_000])
async def test_a_body_of_many_values_is_refused_before_they_are_validated(client, images):
    began = time.process_time()
    answer = await client.post("/api/v1/jobs", json={"command": "imagine", "options": {}, "images": images})

    assert "2000 values" in problem(answer, 422, "invalid_option")["detail"]
    assert time.process_time() - began < 0.4


@pytest.mark.parametrize("depth", [9, 100, 900])
async def test_a_deep_body_is_refused_with_an_idempotency_key_too(client, depth):
    body = '{"command": "imagine", "options": {"prompt": ' + "[" * depth + "]" * depth + "}}"

    answer = await client.post("/api/v1/jobs", content=body, headers={**JSON, "Idempotency-Key": "deep"})

    assert "8 levels deep" in problem(answer, 422, "invalid_option")["detail"]


async def test_a_flood_of_objects_is_refused_while_it_is_parsed(client, monkeypatch):
    seen: list[object] = []

    def spy(pairs):
        seen.append(pairs)
        return dict(pairs)

    monkeypatch.setattr(bodies, "_reject_duplicates", spy)
    answer = await client.post("/api/v1/jobs", content=b'{"a": [' + b"{}," * 20_000 + b"1]}", headers=JSON)

    assert "2000 values" in problem(answer, 422, "invalid_option")["detail"]
    assert len(seen) <= bodies.MAX_VALUES + 1


async def test_a_flood_of_lists_is_refused_before_it_is_parsed(client, monkeypatch):
    seen: list[object] = []
    monkeypatch.setattr(bodies, "check_shape", seen.append)
    answer = await client.post("/api/v1/jobs", content=b'{"a": [' + b"[]," * 20_000 + b"1]}", headers=JSON)

    assert "2000 values" in problem(answer, 422, "invalid_option")["detail"]
    assert seen == []


async def test_as_many_objects_as_values_are_allowed_are_read(client):
    answer = await client.post("/api/v1/jobs", content=b'{"a": [' + b"{}," * 1998 + b"{}]}", headers=JSON)

    assert "2000 values" not in problem(answer, 422, "invalid_option")["detail"]
