"""A new command over REST, without a change there. tests/web/page/test_new_button.py is about the page."""

import pytest

from tests.new_command import ANSWER, registered  # noqa: F401 - a fixture for all of this module

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def wait_for_result(client, job_id):
    async with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as events:
        async for _ in events.aiter_lines():
            pass
    return (await client.get(f"/api/v1/jobs/{job_id}")).json()


async def test_a_new_command_runs_over_rest(client, a_picture):
    media = (await client.post("/api/v1/media", files={"file": ("a.png", a_picture)})).json()
    described = {one["name"]: one for one in (await client.get("/api/v1/commands")).json()["commands"]}["palette"]
    body = {"command": "palette", "options": {"shades": 2}, "images": [media["id"]]}
    accepted = await client.post("/api/v1/jobs", json=body)
    job = await wait_for_result(client, accepted.json()["id"])
    refused = await client.post("/api/v1/jobs", json={**body, "options": {"shades": 10}})

    assert (described["summary"], described["answers"]) == ("Name the colours of a picture", "text")
    assert (job["state"], job["options"]["shades"], job["result"]["text"]) == ("delivered", 2, ANSWER)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_option")
