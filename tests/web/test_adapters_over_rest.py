"""Adapters over REST: chosen by a request, switched for all others without a restart, listed and removed."""

import asyncio

import pytest
import pytest_asyncio

from bot.models import ModelSpec
from bot.ports import TaskAdapter
from tests.storage.test_adapters import make_adapter
from tests.web.api_client import upload
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
BIRDS = TaskAdapter("birds", "0" * 64, "")


@pytest_asyncio.fixture(loop_scope="module")
async def tasks(easel, monkeypatch):
    """Every task that runs; the model "look" has the adapters "birds" and "failed"."""
    adapters = easel.usecases.adapters
    for name, state in (("birds", "accepted"), ("failed", "rejected")):
        folder = adapters.data_dir / "adapters" / name
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").touch()
        await adapters.save_adapter(make_adapter(name, model="look", revision="", state=state), [])
    seen, run = [], easel.pool.run_task

    def recording(task):
        seen.append(task)
        return run(task)

    monkeypatch.setattr(easel.pool, "run_task", recording)
    return seen


async def ask(client, **options):
    """The job of a question, once it has ended; or why it was refused."""
    image = (await upload(client, picture(1, 32, 32)))["id"]
    body = {"command": "ask", "options": {"question": "what is it?", **options}, "images": [image]}
    answer = await client.post("/api/v1/jobs", json=body)
    if answer.status_code != 202:
        return answer.json()
    async with asyncio.timeout(30):
        while (job := (await client.get(f"/api/v1/jobs/{answer.json()['id']}")).json())["state"] != "delivered":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return job


async def test_a_request_names_an_adapter_that_the_model_may_use(client, tasks):
    named = await ask(client, adapter="birds")
    plain = await ask(client)
    wrong, failed = await ask(client, adapter="brids"), await ask(client, adapter="failed")
    (look,) = [one for one in (await client.get("/api/v1/models")).json()["models"] if one["name"] == "look"]

    assert (named["options"]["adapter"], plain["options"]["adapter"]) == ("birds", None)
    assert [task.adapter for task in tasks] == [BIRDS, None]
    assert (wrong["code"], wrong["nearest"]) == ("invalid_option", "birds")
    assert "did not pass its test" in failed["detail"]
    assert {"name": "adapter", "type": "string", "choices": ["birds", "none"], "default": None} in look["options"]


async def test_an_adapter_is_switched_on_off_and_removed_without_a_restart(client, tasks, easel):
    on = await client.post("/api/v1/admin/models/look/use", json={"adapter": "birds"})
    used, without = await ask(client), await ask(client, adapter="none")
    recipe = (await client.get(f"/api/v1/jobs/{used['id']}/recipe")).json()
    refused = await client.post("/api/v1/admin/models/look/use", json={"adapter": "failed"})
    rows = {row["name"]: row for row in (await client.get("/api/v1/admin/models")).json()["adapters"]}
    off = await client.post("/api/v1/admin/models/look/use", json={"adapter": "none"})
    later = await ask(client)
    removed = await client.delete("/api/v1/admin/models/birds")

    assert (on.status_code, on.json()["adapters"], on.json()["is_over"]) == (202, ["birds"], True)
    assert off.json()["adapters"] == []
    assert [task.adapter for task in tasks] == [BIRDS, None, None]
    assert [job["options"]["adapter"] for job in (used, without, later)] == ["birds", "none", None]
    assert "adapter" not in recipe["all"]
    assert refused.json()["code"] == "invalid_option"
    assert (rows["birds"]["is_used"], rows["failed"]["problem"][:24]) == (True, "It did not pass its test")
    assert removed.json() == {"freed_bytes": 0}
    assert [one.name for one in await easel.usecases.adapters.list_adapters()] == ["failed"]


async def test_what_waits_answers_without_an_adapter_that_was_switched_off(client, tasks, easel):
    await client.post("/api/v1/admin/models/look/use", json={"adapter": "birds"})
    slow = asyncio.create_task(ask(client, question="slow question"))
    async with asyncio.timeout(30):
        while not tasks:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(ask(client))
        while len(await easel.storage.jobs.orphaned([], 9)) < 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await client.post("/api/v1/admin/models/look/use", json={"adapter": "none"})
    easel.pool.go_on.set()
    running, waited = await slow, await waiting

    assert [task.adapter for task in tasks] == [BIRDS, None]
    assert not [note for note in running["result"]["notes"] if "adapter" in note]
    assert [note for note in waited["result"]["notes"] if note.endswith("without it: birds")]


async def test_a_removed_model_keeps_its_adapters_which_say_so(client, tasks, easel):
    easel.usecases.models.add_model(ModelSpec(name="gone", tasks=("image-to-text",), repo="gone"))
    await easel.usecases.adapters.save_adapter(make_adapter("left", model="gone"), [])
    easel.usecases.models.remove_model("gone")
    rows = {row["name"]: row for row in (await client.get("/api/v1/admin/models")).json()["adapters"]}

    assert rows["left"]["problem"] == "Its model gone is not installed."
