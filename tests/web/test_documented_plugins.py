"""Each plugin in docs/plugins.md runs as it is typed there, and does what the page says."""

import re
import shutil
from pathlib import Path

import pytest
import pytest_asyncio

from bot.jobs import Origin
from bot.plugins import plugin_template
from bot.plugins.hookspecs import ServerHooks
from bot.plugins.registry import hook_names
from composition.settings import ROOT
from tests.plugins.plugin_fixture import PluginFolder, until
from tests.web.api_client import imagine, make
from tests.web.conftest import open_client, open_easel

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^```python\n# plugins/(\w+)\.py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
TEMPLATE = Path(plugin_template.__file__).read_text(encoding="utf-8")
CHAT = Origin(platform="discord", space_id="g", account_id="1", chat_id="c")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def easel(tmp_path_factory, upgraded_data):
    data_dir = tmp_path_factory.mktemp("documented")
    shutil.copytree(upgraded_data, data_dir, dirs_exist_ok=True)
    async with PluginFolder(data_dir).manager() as manager, open_easel(data_dir, plugins=manager) as server:
        await server.serve()
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def client(easel):
    async with open_client(easel) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def running(easel):
    """Starts an example for the time of a test."""
    manager, started = easel.usecases.plugins.manager, []

    async def start(name, code=None):
        PluginFolder(easel.data_dir).write(name, code or EXAMPLES[name])
        state = await manager.set_enabled(name.replace("_", "-"), True)
        started.append(state.name)
        assert (state.problem, state.is_running) == ("", True)
        return easel.data_dir / "plugins" / "state" / state.name

    yield start
    for name in started:
        await manager.set_enabled(name, False)


async def test_every_hook_of_the_server_is_in_an_example():
    defined = set(re.findall(r"^(?:async )?def (easel_\w+)", "\n".join(EXAMPLES.values()), re.MULTILINE))

    assert defined >= hook_names(ServerHooks)


async def test_thrifty_caps_steps_and_lets_the_owner_ask_for_more_pictures(running, client):
    await running("thrifty")
    job = await make(client, imagine("a fox", steps=20, count=3))

    assert (job["options"]["steps"], job["options"]["count"]) == (8, 3)


async def test_thrifty_refuses_many_pictures_of_others(running, client, easel):
    await running("thrifty")
    key = await easel.create_key("Ann")
    refused = await client.post(
        "/api/v1/jobs", json=imagine("a fox", count=3), headers={"Authorization": f"Bearer {key}"}
    )
    await easel.usecases.people.revoke_key(key.partition(".")[0])
    await easel.usecases.people.unlock()

    assert refused.json()["detail"] == "At most 2 pictures at a time, please."


async def test_add_style_adds_it(running, client):
    await running("add_style")
    job = await make(client, imagine("a fox", seed=1, steps=1))

    assert job["result"]["parameters"].startswith("a fox, in watercolour\n")


async def test_signature_follows_answers(running, client, a_picture):
    await running("signature")
    media = (await client.post("/api/v1/media", files={"file": ("p", a_picture)})).json()
    job = await make(client, {"command": "ask", "options": {"question": "what?"}, "images": [media["id"]]})

    assert job["result"]["text"].endswith("\n(I am a machine and may be wrong.)")


async def test_archive_keeps_pictures(running, client):
    folder = await running("archive")
    job = await make(client, imagine("a fox", seed=1, steps=1))
    await until((folder / f"{job['id']}.json").exists)

    assert (folder / f"{job['id']}-1.png").read_bytes()[1:4] == b"PNG"


async def test_poster_becomes_two_pictures_and_roll_a_text(running, client):
    await running("poster")
    job = await make(client, {"command": "poster", "options": {"title": "Jazz", "mood": "loud"}})
    rolled = (await client.post("/api/v1/jobs", json={"command": "roll", "options": {"sides": 2}})).json()
    refused = await client.post("/api/v1/jobs", json={"command": "poster", "options": {"title": "J"}})

    assert (job["options"]["prompt"], len(job["result"]["media"])) == (
        "a poster about Jazz, bright colours, huge letters", 2,
    )  # fmt: skip
    assert rolled["text"] in ("You rolled 1.", "You rolled 2.")
    assert refused.json()["detail"] == "A poster needs a title of three letters at least."


async def test_house_rules_are_told(running, easel):
    await running("house_rules")
    person = await easel.usecases.people.local_person()
    told = await easel.usecases.plugins.reply(person, CHAT, "What are the Rules?", is_private=False)

    assert told == "Be kind. No spoilers. Prompts in English."


async def test_counters_count_over_a_restart(running, client):
    folder = await running("counters")
    await make(client, imagine("a fox", seed=1, steps=1))
    while "easel_plugin_counters_delivered 1.0" not in (await client.get("/metrics")).text:
        pass
    await running("counters")  # switched on again, it is stopped and started
    [panel] = (await client.get("/api/v1/plugins/panels")).json()["panels"]

    assert (folder / "delivered").read_text() == "1"
    assert (panel["title"], panel["rows"]) == ("So far", [["Results delivered", "1"]])


@pytest.mark.process
async def test_tidy_spelling_corrects_in_a_process_of_its_own(running, client):
    await running("tidy_spelling")
    job = await make(client, imagine("a hedgehogg by the lighthose", seed=1, steps=1))

    assert job["result"]["parameters"].startswith("a hedgehog by the lighthouse\n")


async def test_the_template_does_what_it_says(running, client, easel):
    await running("my_words", TEMPLATE)
    job = await make(client, {"command": "poster", "options": {"title": "Jazz"}})
    person = await easel.usecases.people.local_person()
    told = await easel.usecases.plugins.reply(person, CHAT, "Hi!", is_private=True)

    assert job["options"]["prompt"] == "a poster about Jazz"
    assert told == "Hello! Try /imagine a red fox"
