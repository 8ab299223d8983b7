"""A job from REST through a real worker process and back, with an engine that needs no torch."""

import pytest
import pytest_asyncio

from tests.web.api_client import ask, events_of, imagine, make, upload, wait_for
from tests.web.conftest import open_client, open_easel

pytestmark = pytest.mark.process


@pytest_asyncio.fixture
async def client(tmp_path):
    async with open_easel(tmp_path, has_workers=True) as easel:
        await easel.serve()
        async with open_client(easel) as opened:
            yield opened


async def test_a_picture_is_generated_asked_about_and_recalled_and_another_job_cancelled(client):
    job_id = (await ask(client, imagine("sleep=0.2 a fox", seed=258, steps=4)))["id"]
    events = await events_of(client, job_id)
    media = events[-1]["data"]["result"]["media"][0]
    again = await upload(client, (await client.get(media["url"])).content)
    question = {"command": "ask", "options": {"question": "Which colour?"}, "images": [media["id"]]}
    answered = await make(client, question)
    endless = (await ask(client, imagine("sleep=0.05 steps=1000")))["id"]
    await wait_for(client, endless, "running")
    await client.delete(f"/api/v1/jobs/{endless}")

    assert [events[0]["name"], events[-1]["name"]] == ["state", "result"]
    assert (media["width"], media["height"], media["media_type"]) == (64, 64, "image/png")
    assert again["parameters"]["options"]["prompt"] == "sleep=0.2 a fox"
    assert again["parameters"]["options"]["seed"] == 258
    assert answered["result"]["text"] == "answer: Which colour?"
    assert (await wait_for(client, endless))["state"] == "cancelled"
