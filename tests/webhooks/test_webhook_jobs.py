"""`"webhook": "NAME"` over REST: what became of each job reaches the receiver, and nothing else does."""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.web.api_client import ask, imagine, job_of, wait_for
from tests.webhooks.conftest import SECRET, open_studio
from tests.webhooks.receiver import answer

pytestmark = pytest.mark.asyncio(loop_scope="module")
DOCS = (Path(__file__).resolve().parents[2] / "docs" / "webhooks.md").read_text(encoding="utf-8")


def with_webhook(prompt="a red circle", **more):
    return {**imagine(prompt), "webhook": "studio", **more}


async def test_the_receiver_gets_what_get_answers(studio):
    accepted = await ask(studio.client, with_webhook())
    got = await studio.receiver.wait_for_job(accepted["id"])

    assert json.loads(got.body) == await job_of(studio.client, accepted["id"])
    assert json.loads(got.body)["result"]["media"][0]["url"].startswith("/api/v1/media/")
    assert got.headers["x-easel-event"] == "job.delivered"


async def test_a_job_that_fails_is_told_and_refunded(studio):
    before = (await studio.client.get("/api/v1/quota")).json()
    accepted = await ask(studio.client, with_webhook("fail"))
    got = await studio.receiver.wait_for_job(accepted["id"])
    after = (await studio.client.get("/api/v1/quota")).json()

    assert got.headers["x-easel-event"] == "job.failed"
    assert json.loads(got.body)["id"] == accepted["id"]
    assert json.loads(got.body)["error"]["incident"]
    assert (after["used"], after["reserved"]) == (before["used"], before["reserved"])


async def test_a_job_that_is_cancelled_is_told(studio):
    accepted = await ask(studio.client, with_webhook("slow"))
    await wait_for(studio.client, accepted["id"], "running")
    await studio.client.delete(f"/api/v1/jobs/{accepted['id']}")
    got = await studio.receiver.wait_for_job(accepted["id"])

    assert got.headers["x-easel-event"] == "job.cancelled"
    assert json.loads(got.body)["error"]["code"] == "cancelled"


async def test_each_job_of_a_batch_has_an_event_of_its_own(studio):
    body = with_webhook("a {red|blue} circle")
    quote = (await studio.client.post("/api/v1/quotes", json=body)).json()["quote"]
    accepted = await ask(studio.client, {**body, "quote": quote})
    received = [await studio.receiver.wait_for_job(job["id"]) for job in accepted["jobs"]]

    assert len(received) == 2
    assert len({one.headers["x-easel-event-id"] for one in received}) == 2


async def test_each_cell_of_a_grid_has_an_event(studio):
    options = {"prompt": "a red circle", "x": {"option": "steps", "values": [2, 3]}}
    body = {"command": "grid", "options": options, "webhook": "studio"}
    quote = (await studio.client.post("/api/v1/quotes", json=body)).json()["quote"]
    accepted = await ask(studio.client, {**body, "quote": quote})
    received = [await studio.receiver.wait_for_job(job["id"]) for job in accepted["jobs"]]

    assert {one.headers["x-easel-event"] for one in received} == {"job.delivered"}
    assert len(received) == 2


async def test_a_job_without_a_webhook_is_told_to_nobody(studio):
    silent = await ask(studio.client, imagine())
    await wait_for(studio.client, silent["id"])
    await studio.receiver.wait_for_job((await ask(studio.client, with_webhook()))["id"])

    assert silent["id"] not in [json.loads(one.body)["id"] for one in studio.receiver.received]


@pytest.mark.parametrize("path", ["jobs", "quotes"])
async def test_an_unknown_webhook_is_refused_with_those_that_exist(studio, path):
    refused = await studio.client.post(f"/api/v1/{path}", json=with_webhook(webhook="stduio"))

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_option")
    assert "studio" in refused.json()["detail"]


@pytest.mark.parametrize("webhook", ["https://elsewhere.example/", "x" * 5000, 7, ["studio"], {"url": "x"}])
async def test_what_is_no_name_is_refused(studio, webhook):
    refused = await studio.client.post("/api/v1/jobs", json=with_webhook(webhook=webhook))

    assert refused.status_code == 422
    assert refused.json()["code"] == "invalid_option"


async def test_everybody_with_a_key_may_name_a_webhook(own_studio):
    key = await own_studio.easel.create_key("Ben")
    await ask(own_studio.client, with_webhook(), Authorization=f"Bearer {key}")
    [got] = await own_studio.receiver.wait_for(1)

    assert got.headers["x-easel-event"] == "job.delivered"


async def test_the_webhook_is_a_part_of_a_repeated_request(studio):
    first = await ask(studio.client, with_webhook(), **{"Idempotency-Key": "k"})
    again = await ask(studio.client, with_webhook(), **{"Idempotency-Key": "k"})
    other = await studio.client.post("/api/v1/jobs", json=imagine(), headers={"Idempotency-Key": "k"})

    assert first["id"] == again["id"]
    assert other.json()["code"] == "idempotency_conflict"


async def test_of_an_erased_job_nothing_is_sent(studio):
    erased = await ask(studio.client, with_webhook("slow"))
    await wait_for(studio.client, erased["id"], "running")
    await studio.client.delete(f"/api/v1/jobs/{erased['id']}?erase=true")
    await studio.receiver.wait_for_job((await ask(studio.client, with_webhook()))["id"])

    assert erased["id"] not in [json.loads(one.body)["id"] for one in studio.receiver.received]


async def test_an_event_that_was_not_accepted_is_sent_after_a_restart(data_dir, receiver):
    receiver.answers.append(answer("503 Busy", "Retry-After: 0.5"))
    async with open_studio(data_dir, receiver) as studio:
        accepted = await ask(studio.client, with_webhook())
        await receiver.wait_for(1)
    async with open_studio(data_dir, receiver):
        first, second = await receiver.wait_for(2)

    assert json.loads(second.body)["id"] == accepted["id"]
    assert first.headers["x-easel-event-id"] == second.headers["x-easel-event-id"]


async def test_admins_see_how_far_events_are_and_others_do_not(own_studio):
    own_studio.receiver.answers = [answer("204 No Content"), answer("500 Broken", "Retry-After: 3000")]
    for count in (1, 2):
        await ask(own_studio.client, with_webhook())
        await own_studio.receiver.wait_for(count)
    await until(lambda state: (state["sent"], bool(state["last_problem"])) == (1, True), own_studio)
    [state] = (await own_studio.client.get("/api/v1/admin/webhooks")).json()["webhooks"]
    key = await own_studio.easel.create_key("Ben")
    refused = await own_studio.client.get("/api/v1/admin/webhooks", headers={"Authorization": f"Bearer {key}"})

    assert (state["name"], state["host"]) == ("studio", f"127.0.0.1:{own_studio.receiver.port}")
    assert (state["pending"], state["undeliverable"], state["last_problem"]) == (1, 0, "HTTP 500")
    assert refused.status_code == 403


async def until(is_true, studio):
    async with asyncio.timeout(30):
        while True:
            [state] = (await studio.client.get("/api/v1/admin/webhooks")).json()["webhooks"]
            if is_true(state):
                return
            await asyncio.sleep(0.02)


TEST = "/api/v1/admin/webhooks/studio/test"


async def test_an_admin_sends_a_test_event_that_counts_as_none(own_studio):
    own_studio.receiver.answers = [answer("204 No Content"), answer("410 Gone"), b"junk"]
    answers = [(await own_studio.client.post(TEST)).json() for _ in range(3)]
    [state] = (await own_studio.client.get("/api/v1/admin/webhooks")).json()["webhooks"]

    assert answers[:2] == [{"accepted": True, "problem": ""}, {"accepted": False, "problem": "HTTP 410"}]
    assert answers[2]["problem"].startswith("no answer")
    assert (state["sent"], state["pending"], state["undeliverable"]) == (0, 0, 0)
    assert {one.headers["x-easel-event"] for one in own_studio.receiver.received} == {"webhook.test"}


async def test_a_test_event_needs_an_admin_and_a_webhook_that_exists(own_studio):
    missing = await own_studio.client.post("/api/v1/admin/webhooks/elsewhere/test")
    key = await own_studio.easel.create_key("Ben")
    refused = await own_studio.client.post(TEST, headers={"Authorization": f"Bearer {key}"})

    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert "elsewhere" in missing.json()["detail"]
    assert refused.status_code == 403
    assert own_studio.receiver.received == []


async def test_neither_secret_nor_path_is_in_answers_and_exports(studio):
    accepted = await ask(studio.client, with_webhook())
    await studio.receiver.wait_for_job(accepted["id"])
    shown = [
        (await studio.client.get(path)).text
        for path in (f"/api/v1/jobs/{accepted['id']}", "/readyz", "/metrics", "/api/v1/admin/webhooks", "/openapi.json")
    ]

    assert not [text for text in shown if SECRET in text or "secret-path" in text]


@pytest.mark.process
async def test_the_receiver_in_the_docs_works_as_typed(data_dir, receiver):
    [code] = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {**os.environ, "SECRET": SECRET, "PORT": str(port)}
    process = subprocess.Popen(  # noqa: ASYNC220 - it starts in milliseconds
        [sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        await connected(port)
        async with open_studio(data_dir, receiver, url=f"http://127.0.0.1:{port}/") as studio:
            accepted = await ask(studio.client, with_webhook())
            async with asyncio.timeout(60):
                line = await asyncio.to_thread(process.stdout.readline)
    finally:
        process.kill()
        process.communicate()

    assert line.decode().split() == ["job.delivered", accepted["id"]]


async def connected(port):
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
