"""`/metrics`: what operators see of jobs, requests and the state of the server."""

import asyncio
import threading

import pytest
from fastapi import FastAPI
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from adapters.metrics.prometheus_metrics import PrometheusMetrics
from adapters.web import routes_metrics
from adapters.web.measuring import MeasuringMiddleware
from tests.web.api_client import ask, imagine, make, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def read(client):
    """The value of each sample, by name and labels."""
    return parse((await client.get("/metrics")).text)


def parse(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples, name, **labels):
    return samples.get((name, *sorted(labels.items())), 0.0)


async def test_accepted_jobs_have_ended_or_are_open(client, server):
    await make(client, imagine())
    await make(client, imagine("fail"))
    slow = await ask(client, imagine("slow"))
    await wait_for(client, slow["id"], "running")
    queued = await ask(client, imagine())
    await client.delete(f"/api/v1/jobs/{queued['id']}")
    samples = await read(client)
    server.pool.go_on.set()
    kind = {"command": "imagine", "model": "paint", "platform": "web"}

    ended = {
        outcome: value(samples, "easel_jobs_ended_total", **kind, outcome=outcome)
        for outcome in ("succeeded", "failed", "cancelled", "dead")
    }
    assert value(samples, "easel_jobs_accepted_total", **kind) == 4
    assert ended == {"succeeded": 1, "failed": 1, "cancelled": 1, "dead": 0}
    assert value(samples, "easel_job_wait_seconds_count", command="imagine") == 2
    assert value(samples, "easel_job_run_seconds_count", command="imagine", model="paint") == 2
    assert value(samples, "easel_device_seconds_charged_total", command="imagine", model="paint") > 0


async def test_a_repeated_request_is_accepted_once(client):
    for _ in range(2):
        await ask(client, imagine(), **{"Idempotency-Key": "again"})
    samples = await read(client)

    assert value(samples, "easel_jobs_accepted_total", command="imagine", model="paint", platform="web") == 1


async def test_the_queue_is_shown_by_model_with_its_oldest_job(client, server):
    slow = await ask(client, imagine("slow"))
    await wait_for(client, slow["id"], "running")
    await ask(client, imagine())
    samples = await read(client)
    server.pool.go_on.set()

    assert value(samples, "easel_queue_backlog", model="paint") == 1
    assert value(samples, "easel_queue_oldest_seconds") > 0
    assert value(samples, "easel_jobs", state="running") == 1


async def test_requests_are_counted_by_route_with_their_duration(shared_client):
    job = await make(shared_client)
    await shared_client.get(f"/api/v1/jobs/{job['id']}")
    await shared_client.get("/api/v1/jobs/aaaaaaaaaaaaaaaa")
    samples = await read(shared_client)
    route = {"method": "GET", "route": "/api/v1/jobs/{job_id}"}

    assert value(samples, "easel_http_requests_total", **route, status="404") == 1
    assert value(samples, "easel_http_request_duration_seconds_count", **route) >= 2
    assert value(samples, "easel_http_requests_in_flight") == 1
    assert not [labels for name, *labels in samples if job["id"] in str(labels)]


async def test_addresses_that_no_route_has_are_one_route(shared_client):
    for number in range(5):
        await shared_client.get(f"/nothing/{number}")
        await shared_client.get(f"/v1/nothing/{number}")
    samples = await read(shared_client)
    routes = {labels[1][1] for name, *labels in samples if name == "easel_http_requests_total"}

    assert not [route for route in routes if "nothing" in route]


async def test_an_open_stream_is_counted_but_not_as_a_long_request(client, server):
    slow = await ask(client, imagine("slow"))
    async with client.stream("GET", f"/api/v1/jobs/{slow['id']}/events"):
        samples = await read(client)
    server.pool.go_on.set()
    await wait_for(client, slow["id"])

    assert value(samples, "easel_http_streams") == 1
    assert value(samples, "easel_http_requests_in_flight") == 2
    assert value(await read(client), "easel_http_streams") == 0


async def test_a_watched_job_measures_its_first_preview_once(client, server):
    job = await ask(client, imagine("slow"))
    async with client.stream("GET", f"/api/v1/jobs/{job['id']}/events") as stream:
        async for line in stream.aiter_lines():
            if "data:image/jpeg" in line:
                server.pool.go_on.set()
    samples = await read(client)

    assert value(samples, "easel_job_first_preview_seconds_count", command="imagine") == 1


async def test_the_database_and_the_process_are_measured(shared_client):
    await make(shared_client)
    samples = await read(shared_client)

    assert value(samples, "easel_storage_commit_seconds_count") > 0
    assert value(samples, "easel_storage_commit_operations_sum") >= value(samples, "easel_storage_commit_seconds_count")
    assert value(samples, "easel_database_bytes") > 0
    assert value(samples, "easel_media_bytes") > 0
    assert value(samples, "easel_disk_free_bytes") > 0
    assert value(samples, "process_resident_memory_bytes") > 0
    assert value(samples, "process_start_time_seconds") > 0
    assert [labels for name, *labels in samples if name == "easel_build_info"]
    assert not [name for name, *_ in samples if name.endswith("_created")]


async def test_the_text_of_a_scrape_is_written_beside_the_event_loop(shared_client, monkeypatch):
    threads = set()

    def write(registry):
        threads.add(threading.get_ident())
        return generate_latest(registry)

    monkeypatch.setattr(routes_metrics, "generate_latest", write)
    samples = await read(shared_client)

    assert samples
    assert threads.isdisjoint({threading.get_ident()})


async def test_a_backup_shows_its_time(shared_client, shared_server, tmp_path):
    before = value(await read(shared_client), "easel_backup_last_timestamp_seconds")
    await shared_server.usecases.operations.backup_database(tmp_path / "copy.db")

    assert before == 0
    assert value(await read(shared_client), "easel_backup_last_timestamp_seconds") > 1.7e9


async def test_applications_below_a_path_count_with_it():
    inner, outer, metrics = FastAPI(), FastAPI(), PrometheusMetrics()

    @inner.get("/images/{name}")
    async def get_image(name: str) -> str:
        return name

    outer.mount("/v1", inner)
    app = MeasuringMiddleware(outer, metrics=metrics.http)
    for path in ("/v1/images/7", "/v1/nothing", "/nothing"):
        await call(app, path)
    samples = parse(generate_latest(metrics.registry).decode())

    counted = [dict(labels) for name, *labels in samples if name == "easel_http_requests_total"]
    assert {(one["route"], one["status"]) for one in counted} == {
        ("/v1/images/{name}", "200"),
        ("/v1", "404"),
        ("other", "404"),
    }


async def call(app, path):
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": [], "query_string": b"",
        "root_path": "", "scheme": "http", "server": ("x", 80), "client": ("y", 1), "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }  # fmt: skip

    async def receive():
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    await app(scope, receive, send)


async def test_other_programs_apis_are_counted_by_their_routes(shared_client):
    for path in ("/v1/models", "/v1/nothing", "/sdapi/v1/sd-models", "/sdapi/v1/nothing", "/controlnet/version"):
        await shared_client.get(path)
    await shared_client.post("/mcp", json={})
    samples = await read(shared_client)
    routes = {dict(labels)["route"] for name, *labels in samples if name == "easel_http_requests_total"}

    assert {"/v1/models", "/sdapi/v1/sd-models", "/controlnet/version", "/mcp"} <= routes
    assert not [route for route in routes if "nothing" in route]
