"""Plugins of the worker in a served Easel: what people see of them, and what one costs that hangs."""

import shutil

import pytest
import pytest_asyncio

from tests.plugins.plugin_fixture import PluginFolder, until
from tests.web.api_client import ask, imagine, make, wait_for
from tests.web.conftest import open_client, open_easel

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("forked_workers")]
HANG = """
    import time

    SETTINGS = {"time_limit_s": 1.5}

    def easel_applies(task):
        return "slow" in task.options["prompt"]

    def easel_after_decode(pixels):
        time.sleep(600)
"""
FAIL = """
    def easel_after_decode(pixels):
        raise ValueError("there is no ink")
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def easel(tmp_path_factory, upgraded_data):
    """The client of a served Easel with real workers, the folder of its plugins, and the server."""
    data_dir = tmp_path_factory.mktemp("worker_plugins")
    shutil.copytree(upgraded_data, data_dir, dirs_exist_ok=True)
    folder = PluginFolder(data_dir)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EASEL_DATA_DIR", str(data_dir))
        manager = folder.manager()
        async with manager, open_easel(data_dir, has_workers=True, plugins=manager, local_policy="allow") as server:
            await server.serve()
            async with open_client(server) as client:
                yield client, folder, server


async def switch(client, name, *, is_enabled):
    answer = await client.put(f"/api/v1/admin/plugins/{name}", json={"enabled": is_enabled})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def plugin(client, name):
    answer = await client.get("/api/v1/admin/plugins")
    return next(one for one in answer.json()["plugins"] if one["name"] == name)


async def test_a_hook_that_fails_leaves_a_note_and_admins_read_why(easel):
    client, folder, _ = easel
    folder.write("ink", FAIL)
    await switch(client, "ink", is_enabled=True)
    job = await make(client, imagine(seed=1))
    state = await plugin(client, "ink")
    await switch(client, "ink", is_enabled=False)
    plain = await make(client, imagine(seed=1))

    assert job["state"] == "delivered"
    assert "The plugin ink had no effect: it failed." in job["result"]["notes"]
    assert state["last_error"] == "easel_after_decode: ValueError: there is no ink (line 3 of ink.py)"
    assert not any("plugin" in note for note in plain["result"]["notes"])


async def test_a_hook_that_hangs_is_disabled_and_its_jobs_run_again_without_a_fault_or_a_second_charge(easel):
    client, folder, server = easel
    folder.write("slow", HANG)
    await switch(client, "slow", is_enabled=True)
    spent_before = (await client.get("/api/v1/quota")).json()["used"]
    accepted = [await ask(client, imagine(prompt, seed=1, count=2)) for prompt in ("a slow fox", "a fox")]
    jobs = [await wait_for(client, job["id"]) for job in accepted]
    spent = (await client.get("/api/v1/quota")).json()["used"] - spent_before
    lost = await server.storage.jobs.get_job(jobs[0]["id"], None)
    state = await plugin(client, "slow")

    assert [(job["state"], len(job["result"]["media"])) for job in jobs] == [("delivered", 2)] * 2
    note = "The plugin slow had no effect: it took too long and was switched off."
    assert jobs[0]["result"]["notes"][0] == note
    assert not state["enabled"]
    assert state["problem"] == (
        "easel_after_decode took over 1.5 s, so the plugin was switched off. Enable it again once it is repaired."
    )
    assert (lost.attempt, lost.crashes, lost.failures, lost.interruptions) == (2, 0, 0, 0)
    assert spent == pytest.approx(sum(job["cost"] for job in jobs))
    await until(lambda: "enabled = false" in (folder.data_dir / "config.toml").read_text())
