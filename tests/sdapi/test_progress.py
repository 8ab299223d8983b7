"""Progress, interrupts and skips: each caller's own."""

import asyncio
import base64
import json

import pytest

from tests.sdapi.sd_client import get, open_picture, post, refusal, until_running
from tests.web.api_client import ask, imagine
from tests.web.conftest import open_client

pytestmark = pytest.mark.asyncio(loop_scope="module")
READY = (0.0, 0)
TXT2IMG = "/sdapi/v1/txt2img"


def password_of(header):
    return base64.b64decode(header["Authorization"].partition(" ")[2]).decode().partition(":")[2]


def readiness(progress):
    return progress["progress"], progress["state"]["job_count"]


async def test_progress_shows_a_preview_where_the_rules_allow_one(server, client):
    drawing = asyncio.create_task(client.post(TXT2IMG, json={"prompt": "slow"}))
    await until_running(client)
    async with asyncio.timeout(20):
        while (found := await get(client, "progress"))["current_image"] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    bare = await get(client, "progress?skip_current_image=true")
    server.pool.go_on.set()

    assert (await drawing).status_code == 200
    assert open_picture(found["current_image"]).size == (32, 32)
    assert bare["current_image"] is None


async def test_progress_is_that_of_the_callers_own_call(keyed_server, keyed, new_caller):
    server, client, ann, ben = keyed_server, keyed, await new_caller(), await new_caller()
    drawing = asyncio.create_task(client.post(TXT2IMG, json={"prompt": "slow", "steps": 4}, headers=ann))

    found = await until_running(client, **ann)
    others = await get(client, "progress", **ben)
    status = await get(client, "status", **ann)
    server.pool.go_on.set()

    assert (await drawing).status_code == 200
    assert found["progress"] == 0.5
    assert (found["state"]["job_count"], found["state"]["sampling_steps"]) == (1, 4)
    assert found["current_image"] is None
    assert (status["status"], status["step"], status["steps"]) == ("running", 2, 4)
    assert readiness(others) == READY
    assert readiness(await get(client, "progress", **ann)) == READY


async def test_jobs_of_the_page_are_no_progress_of_this_api(keyed, new_caller):
    ann = await new_caller()
    bearer = {"Authorization": f"Bearer {password_of(ann)}"}
    job = await ask(keyed, imagine("slow"), **bearer)

    assert readiness(await get(keyed, "progress", **ann)) == READY
    assert (await get(keyed, "status", **ann))["status"] == "idle"
    await keyed.delete(f"/api/v1/jobs/{job['id']}", headers=bearer)


async def test_an_interrupt_ends_the_callers_calls_and_nobody_elses(keyed, new_caller):
    client, ann, ben = keyed, await new_caller(), await new_caller()
    own = asyncio.create_task(client.post(TXT2IMG, json={"prompt": "slow"}, headers=ann))
    await until_running(client, **ann)
    other = asyncio.create_task(client.post(TXT2IMG, json={"prompt": "a fox"}, headers=ben))

    assert await post(client, "interrupt", **ann) == {}

    assert "cancelled" in refusal(await own, 409)
    assert (await other).status_code == 200
    assert await post(client, "interrupt", **ann) == {}


async def test_an_interrupted_call_answers_with_what_is_finished(keyed, new_caller):
    ann, body = await new_caller(), {"prompt": "{a fox|slow}", "seed": 1}
    drawing = asyncio.create_task(keyed.post(TXT2IMG, json=body, headers=ann))
    async with asyncio.timeout(20):
        while (await get(keyed, "progress", **ann))["state"]["job_no"] < 1:
            assert not drawing.done()
            await asyncio.sleep(0.02)

    await post(keyed, "interrupt", **ann)

    info = json.loads((await drawing).json()["info"])
    assert info["all_prompts"] == ["a fox"]


async def test_a_skip_goes_on_with_the_next_job(keyed_server, keyed, new_caller):
    ann, body = await new_caller(), {"prompt": "slow", "n_iter": 5, "seed": 1, "steps": 3}
    drawing = asyncio.create_task(keyed.post(TXT2IMG, json=body, headers=ann))
    await until_running(keyed, **ann)

    await post(keyed, "skip", **ann)
    keyed_server.pool.go_on.set()

    info = json.loads((await drawing).json()["info"])
    assert info["all_seeds"] == [5]


async def test_a_client_that_hangs_up_cancels_its_job(keyed, new_caller):
    ann = await new_caller()
    bearer = {"Authorization": f"Bearer {password_of(ann)}"}
    drawing = asyncio.create_task(keyed.post(TXT2IMG, json={"prompt": "slow"}, headers=ann))
    await until_running(keyed, **ann)

    drawing.cancel()

    async with asyncio.timeout(20):
        while (await keyed.get("/api/v1/jobs?state=cancelled", headers=bearer)).json()["total"] < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert readiness(await get(keyed, "progress", **ann)) == READY


async def test_a_restart_leaves_no_jobs_that_a_second_try_would_double(easel):
    await easel.serve()
    async with open_client(easel) as client:
        drawing = asyncio.create_task(client.post("/sdapi/v1/txt2img", json={"prompt": "slow", "n_iter": 9}))
        await until_running(client)
        await easel.stop()

        assert "Try again" in refusal(await drawing, 503)
        await easel.serve()
    async with open_client(easel) as client:
        jobs = (await client.get("/api/v1/jobs")).json()["jobs"]

    assert len(jobs) == 3
    assert all(job["cancel_requested"] for job in jobs)
