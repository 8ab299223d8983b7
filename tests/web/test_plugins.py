"""Plugins over REST: what they see and change of requests and results, their own commands, and switching them."""

import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2
import pytest
import pytest_asyncio

from bot.plugins.plugin_manager import PluginManager
from tests.plugins.plugin_fixture import PluginFolder, state_of, until
from tests.web.api_client import ask, imagine, make, wait_for
from tests.web.conftest import ServedEasel, open_client, open_easel

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLOCKED_WORD = "forbiddenword"
UNPRINTABLE = "class Unprintable(Exception):\n    def __str__(self): raise KeyError\n"


@dataclass
class WithPlugins:
    """A served Easel, a client of the local person, and the folder of its plugins."""

    server: ServedEasel
    client: httpx2.AsyncClient
    folder: PluginFolder
    manager: PluginManager

    @asynccontextmanager
    async def running(self, code, name="test-plugin"):
        path = self.folder.write(name, code)
        state = await self.manager.set_enabled(name, True)
        assert not state.problem, state.problem
        try:
            yield
        finally:
            await self.manager.set_enabled(name, False)
            path.unlink()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def easel(tmp_path_factory, upgraded_data):
    data_dir = tmp_path_factory.mktemp("plugins")
    shutil.copytree(upgraded_data, data_dir, dirs_exist_ok=True)
    folder = PluginFolder(data_dir)
    manager = folder.manager()
    async with manager, open_easel(data_dir, plugins=manager, blocked_words=(BLOCKED_WORD,)) as server:
        await server.serve()
        async with open_client(server) as client:
            yield WithPlugins(server, client, folder, manager)


# ---------------------------------------------------------------- requests


async def test_a_plugin_changes_options_and_the_price_with_them(easel):
    async with easel.running("def easel_accept(request): return {'steps': 10}"):
        job = await make(easel.client, imagine(seed=1, steps=5))

    assert (job["options"]["steps"], job["cost"]) == (10, 1.5)
    assert job["result"]["notes"][0] == "The plugin test-plugin changed: steps 10"


async def test_a_plugin_sees_who_asks_for_what(easel):
    code = """
        import json
        def easel_accept(plugin, request):
            seen = [request.command, dict(request.options), request.images, request.by.platform, request.by.is_admin]
            (plugin.folder / "seen").write_text(json.dumps(seen))
    """
    async with easel.running(code):
        await ask(easel.client, imagine("a fox", seed=1, steps=1))

    seen = easel.folder.data_dir / "plugins" / "state" / "test-plugin" / "seen"
    assert seen.read_text() == '["imagine", {"prompt": "a fox", "seed": 1, "steps": 1}, 0, "web", true]'


async def test_a_plugin_refuses_with_its_own_sentence(easel):
    code = """
        from bot.plugins import Refusal
        async def easel_accept(request):
            raise Refusal("Only cats on Mondays {detail}.")
    """
    async with easel.running(code):
        answer = await easel.client.post("/api/v1/jobs", json=imagine())

    assert (answer.status_code, answer.json()["code"]) == (403, "blocked")
    assert answer.json()["detail"] == "Only cats on Mondays {detail}."


@pytest.mark.parametrize(
    "code",
    [
        "def easel_accept(request): 1 / 0",
        "def easel_accept(request): return 3",
        "def easel_accept(request): return {'stepz': 3}",
        "def easel_accept(request): return {'steps': 'many'}",
        "def easel_accept(request): return {'steps': 51}",
        "def easel_accept(request): return {'model': 'unknown-model'}",
        "def easel_accept(request): return {'prompt': None}",
        "def easel_accept(request): return {3: 4}",
        "def easel_accept(request): return {'prompt': object()}",
        "def easel_accept(request): raise ValueError('\\ud800')",
        "def easel_accept(request): raise StopIteration",
        "def easel_accept(request): return {'steps': 10**5000}",
        "def easel_accept(request): return {'prompt': 10**5000}",
        "import asyncio\nasync def easel_accept(request): raise asyncio.CancelledError",
        UNPRINTABLE + "def easel_accept(request): raise Unprintable",
        UNPRINTABLE + "def easel_accept(request): return {'prompt': Unprintable()}",
    ],
)
async def test_what_a_plugin_does_wrong_costs_its_effect_and_a_note(easel, code):
    async with easel.running(code):
        job = await make(easel.client, imagine("a fox", seed=1, steps=1))

    assert (job["state"], job["options"]["prompt"], job["options"]["steps"]) == ("delivered", "a fox", 1)
    assert job["result"]["notes"][0].startswith("The plugin test-plugin had no effect: ")


async def test_what_a_person_typed_is_not_in_what_admins_read_of_a_bad_change(easel):
    async with easel.running("def easel_accept(request): return {'steps': request.options['prompt']}"):
        await ask(easel.client, imagine("my secret wish", seed=1, steps=1))
        state = await state_of(easel.manager, "test-plugin")

    assert state.last_error.startswith("easel_accept: ")
    assert "secret" not in state.last_error


async def test_a_bad_request_stays_the_persons_own_mistake(easel):
    async with easel.running("def easel_accept(request): return {'count': 1}"):
        answer = await easel.client.post("/api/v1/jobs", json=imagine(steps=99))

    assert (answer.status_code, answer.json()["option"]) == (422, "steps")


async def test_no_plugin_makes_a_blocked_word_pass(easel):
    code = "def easel_accept(request): return {'prompt': 'a nice fox'}"
    async with easel.running(code):
        answer = await easel.client.post("/api/v1/jobs", json=imagine(f"a {BLOCKED_WORD}"))

    assert (answer.status_code, answer.json()["code"]) == (403, "blocked")


@pytest.mark.parametrize("option", ["prompt", "negative_prompt"])
async def test_no_plugin_brings_a_blocked_word_in(easel, option):
    word = BLOCKED_WORD if option == "prompt" else f"(({BLOCKED_WORD}:-1.5))"
    async with easel.running(f"def easel_accept(request): return {{'{option}': 'a {word}'}}"):
        answer = await easel.client.post("/api/v1/jobs", json=imagine())

    assert (answer.status_code, answer.json()["code"]) == (403, "blocked")


async def test_repeating_a_request_does_not_ask_plugins_again(easel):
    code = """
        count = 0
        def easel_accept(request):
            global count
            count += 1
            return {"seed": count}
    """
    async with easel.running(code):
        first = await ask(easel.client, imagine("twice"), **{"Idempotency-Key": "plugin-key"})
        again = await ask(easel.client, imagine("twice"), **{"Idempotency-Key": "plugin-key"})

    assert (again["id"], (await wait_for(easel.client, first["id"]))["options"]["seed"]) == (first["id"], 1)


async def test_the_words_of_a_person_are_remembered_as_they_were(easel):
    async with easel.running("def easel_accept(request): return {'prompt': request.options['prompt'] + ' in oil'}"):
        job = await make(easel.client, imagine("a fox", seed=1, steps=1))
        recipe = (await easel.client.get(f"/api/v1/jobs/{job['id']}/recipe")).json()
        again = await make(easel.client, {"command": "imagine", "options": recipe["all"]})

    assert job["options"]["prompt"] == again["options"]["prompt"] == "a fox in oil"
    assert recipe["words"]["prompt"] == "a fox"


# ---------------------------------------------------------------- prompts and answers


async def test_a_plugin_changes_what_is_drawn_and_the_job_says_so(easel):
    code = """
        async def easel_prompt(prompt):
            return f"{prompt.text} in {'grey' if prompt.is_negative else 'oil'}"
    """
    async with easel.running(code):
        job = await make(easel.client, imagine("a fox", negative_prompt="fog", seed=1, steps=1))

    assert job["options"]["prompt"] == "a fox"
    assert job["result"]["parameters"].startswith("a fox in oil\n")
    assert job["result"]["notes"][:2] == [
        "The plugin test-plugin changed the prompt to: a fox in oil",
        "The plugin test-plugin changed the negative prompt to: fog in grey",
    ]


@pytest.mark.parametrize("words", [f"a {BLOCKED_WORD}", f"a ({BLOCKED_WORD}:1.4) fox"])
async def test_a_prompt_with_a_blocked_word_from_a_plugin_is_not_drawn_and_costs_nothing(easel, words):
    used = (await easel.client.get("/api/v1/quota")).json()["used"]
    async with easel.running(f"def easel_prompt(prompt): return {words!r}"):
        job = await make(easel.client, imagine(seed=1, steps=1))

    assert (job["state"], job["error"]["code"]) == ("failed", "blocked")
    assert (await easel.client.get("/api/v1/quota")).json()["used"] == used


@pytest.mark.parametrize(
    "code",
    [
        "def easel_prompt(prompt): 1 / 0",
        "def easel_prompt(prompt): return ''",
        "def easel_prompt(prompt): return 'x' * 4001",
        "def easel_prompt(prompt): return 'a fox <lora:none-of-this-name>'",
        "def easel_prompt(prompt): return ['a fox']",
    ],
)
async def test_a_prompt_that_cannot_be_used_leaves_that_of_the_person(easel, code):
    async with easel.running(code):
        job = await make(easel.client, imagine("a hare", seed=1, steps=1))

    assert job["result"]["parameters"].startswith("a hare\n")
    assert any("had no effect: " in note for note in job["result"]["notes"])


async def test_a_hook_that_hangs_costs_its_effect_and_no_job(easel):
    code = """
        import threading
        SETTINGS = {"time_limit_s": 0.05}
        gate = threading.Event()
        def easel_prompt(prompt): gate.wait()
        def easel_stop(): gate.set()
    """
    async with easel.running(code):
        job = await make(easel.client, imagine("a hare", seed=1, steps=1))

    assert job["state"] == "delivered"
    assert "The plugin test-plugin had no effect: it took too long." in job["result"]["notes"]


async def test_a_plugin_that_is_switched_off_while_it_works_has_no_effect(easel):
    code = """
        import asyncio
        async def easel_prompt(plugin, prompt):
            (plugin.folder / "began").touch()
            await asyncio.Event().wait()
    """
    async with easel.running(code, "slow-one"):
        accepted = await ask(easel.client, imagine("a hare", seed=1, steps=1))
        await until((easel.folder.data_dir / "plugins" / "state" / "slow-one" / "began").exists)
        switched = await easel.client.put("/api/v1/admin/plugins/slow-one", json={"enabled": False})
        job = await wait_for(easel.client, accepted["id"])

    assert (switched.json()["running"], job["state"]) == (False, "delivered")
    assert "The plugin slow-one had no effect: it was switched off meanwhile." in job["result"]["notes"]


ASK = {"command": "ask", "options": {"question": "what?"}}


async def question(easel, a_picture):
    media = (await easel.client.post("/api/v1/media", files={"file": ("p", a_picture)})).json()
    return await make(easel.client, {**ASK, "images": [media["id"]]})


async def test_a_plugin_adds_to_an_answer(easel, a_picture):
    code = "def easel_answer(answer): return f'{answer.text}\\n({answer.question} {answer.images})'"
    async with easel.running(code):
        job = await question(easel, a_picture)

    assert job["result"]["text"] == "It is what?\n(what? 1)"
    assert job["result"]["notes"] == ["The plugin test-plugin changed this answer."]


@pytest.mark.parametrize("returned", [repr(BLOCKED_WORD), "'x' * 4001", "' '", "3"])
async def test_an_answer_that_a_plugin_may_not_give_stays_as_it_was(easel, a_picture, returned):
    async with easel.running(f"def easel_answer(answer): return {returned}"):
        job = await question(easel, a_picture)

    assert job["result"]["text"] == "It is what?"
    assert job["result"]["notes"][0].startswith("The plugin test-plugin had no effect: ")


async def test_plugins_are_told_once_what_was_delivered(easel):
    code = """
        def easel_deliver(plugin, job):
            with (plugin.folder / "delivered").open("a") as file:
                file.write(f"{job.id} {job.command} {len(job.images)} {job.images[0].data[:4]} {job.by.platform}\\n")
    """
    told = easel.folder.data_dir / "plugins" / "state" / "test-plugin" / "delivered"
    async with easel.running(code):
        job = await make(easel.client, imagine("a fox", count=2, seed=1, steps=1))
        await until(told.exists)

    assert told.read_text() == f"{job['id']} imagine 2 b'\\x89PNG' web\n"


# ---------------------------------------------------------------- commands


COMMANDS = """
    from bot.plugins import PluginCommand, PluginOption, Refusal, RunCommand

    def poster(call):
        if call.options["title"] == "no":
            raise Refusal("No posters today.")
        return RunCommand(command="imagine", options={"prompt": f"a poster: {call.options['title']}", "seed": 3,
                                                      "steps": call.options["detail"]})

    async def dice(call):
        return f"You rolled {call.options['sides']}."

    def easel_commands():
        title = PluginOption(name="title", help="What it says", is_required=True, is_main=True, maximum=80)
        detail = PluginOption(name="detail", help="Steps", kind="whole number", default=4, minimum=1, maximum=50)
        sides = PluginOption(name="sides", help="Of the die", kind="whole number", default=6)
        return [
            PluginCommand(name="poster", summary="A poster", options=(title, detail), run=poster),
            PluginCommand(name="dice", summary="Roll", options=(sides,), run=dice, answers="text"),
        ]
"""


async def test_a_command_of_a_plugin_becomes_a_job(easel):
    async with easel.running(COMMANDS):
        job = await make(easel.client, {"command": "poster", "options": {"title": "Jazz"}})
        quote = (
            await easel.client.post("/api/v1/quotes", json={"command": "poster", "options": {"title": "x"}})
        ).json()

    assert (job["command"], job["options"]["prompt"], job["options"]["steps"]) == ("imagine", "a poster: Jazz", 4)
    assert quote["cost"] == job["cost"] == 0.9


async def test_a_command_of_a_plugin_answers_with_a_text(easel):
    body = {"command": "dice", "options": {"sides": 20}}
    async with easel.running(COMMANDS):
        answer = await easel.client.post("/api/v1/jobs", json=body)
        quote = (await easel.client.post("/api/v1/quotes", json=body)).json()

    assert (answer.status_code, answer.json()) == (200, {"text": "You rolled 20."})
    assert (quote["jobs"], quote["cost"]) == (0, 0.0)


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({}, 422, "title is required."),
        ({"title": "x", "detail": 60}, 422, "detail is 60, but must be 1 to 50."),
        ({"title": "no"}, 403, "No posters today."),
        ({"title": f"a {BLOCKED_WORD}"}, 403, "blocked words"),
        ({"title": "x", "colour": "red"}, 422, "Unknown option colour."),
    ],
)
async def test_a_command_of_a_plugin_is_refused_with_a_sentence(easel, options, status, words):
    async with easel.running(COMMANDS):
        answer = await easel.client.post("/api/v1/jobs", json={"command": "poster", "options": options})

    assert answer.status_code == status
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        "return 3",
        "1 / 0",
        "return RunCommand(command='no-such', options={})",
        "return RunCommand(command='imagine', options={3: 'x'})",
        "return RunCommand(command='imagine', options=None)",
        "return RunCommand(command=['imagine'], options={})",
    ],
)
async def test_a_command_that_fails_says_so(easel, body):
    code = f"""
        from bot.plugins import PluginCommand, RunCommand
        def run(call): {body}
        def easel_commands(): return [PluginCommand(name="bad", summary="Bad", run=run)]
    """
    async with easel.running(code):
        answer = await easel.client.post("/api/v1/jobs", json={"command": "bad"})

    assert (answer.status_code, answer.json()["code"]) == (502, "plugin_failed")
    assert answer.json()["detail"].startswith("The plugin test-plugin could not do that.")


async def test_what_a_command_says_passes_the_block_list(easel):
    async with easel.running(COMMANDS.replace("You rolled", BLOCKED_WORD)):
        answer = await easel.client.post("/api/v1/jobs", json={"command": "dice"})

    assert (answer.status_code, answer.json()["code"]) == (403, "blocked")


async def test_commands_of_plugins_are_listed_while_they_are_there(easel):
    async with easel.running(COMMANDS):
        listed = {one["name"]: one for one in (await easel.client.get("/api/v1/commands")).json()["commands"]}
    after = {one["name"] for one in (await easel.client.get("/api/v1/commands")).json()["commands"]}

    assert listed["poster"]["plugin"] == "test-plugin"
    assert [one["name"] for one in listed["poster"]["options"]] == ["title", "detail"]
    assert "poster" not in after


async def test_a_command_whose_plugin_is_off_is_unknown(easel):
    answer = await easel.client.post("/api/v1/jobs", json={"command": "poster", "options": {"title": "x"}})

    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("Unknown command poster.")


# ---------------------------------------------------------------- the page, metrics, admins


async def test_panels_are_plain_text_for_those_who_may_see_them(easel):
    code = """
        from bot.plugins import Panel
        def easel_page_panels(viewer):
            shown = Panel(title="<b>Hits</b>", rows=[("today", 3), ("bad",)])
            return [shown, Panel(title="Secret", for_admins=True), 7, Panel(title="x", rows=None)]
    """
    bad = "from bot.plugins import Panel\ndef easel_page_panels(): return [Panel(title='x', rows=[('a', 10**5000)])]"
    async with easel.running(bad, "bad-panel"), easel.running(code):
        panels = (await easel.client.get("/api/v1/plugins/panels")).json()["panels"]
        state = await state_of(easel.manager, "bad-panel")

    assert [panel["title"] for panel in panels] == ["<b>Hits</b>", "Secret"]
    assert state.last_error.startswith("easel_page_panels: ValueError: Exceeds the limit")
    assert panels[0] == {
        "plugin": "test-plugin", "title": "<b>Hits</b>", "text": "", "rows": [["today", "3"]], "for_admins": False,
    }  # fmt: skip


async def test_values_of_plugins_are_metrics(easel):
    async with easel.running(
        "def easel_metrics(): return {'hits': 3, 'Bad Name': 1, 'words': 'x', 'is_on': True, 4: 5, 'big': 10**400}"
    ):
        text = (await easel.client.get("/metrics")).text

    assert "\neasel_plugin_test_plugin_hits 3.0\n" in text
    assert [line for line in text.splitlines() if line.startswith("easel_plugin")] == [
        "easel_plugin_test_plugin_hits 3.0"
    ]


async def test_admins_see_and_switch_plugins(easel):
    easel.folder.write("broken", "1 / 0\ndef easel_metrics(): ...")
    on = (await easel.client.put("/api/v1/admin/plugins/broken", json={"enabled": True})).json()
    listed = (await easel.client.get("/api/v1/admin/plugins")).json()["plugins"]
    off = await easel.client.put("/api/v1/admin/plugins/broken", json={"enabled": False})

    assert on["problem"] == "It cannot be started: import: ZeroDivisionError: division by zero"
    assert on in listed
    assert set(on) == {
        "name", "source", "enabled", "running", "server_hooks", "worker_hooks", "commands", "problem", "last_error",
    }  # fmt: skip
    assert (off.json()["enabled"], off.json()["problem"]) == (False, "")


@pytest.mark.parametrize(("body", "status"), [({"enabled": "yes"}, 422), ({}, 422), ({"enabled": True}, 404)])
async def test_a_switch_that_makes_no_sense_is_refused(easel, body, status):
    answer = await easel.client.put("/api/v1/admin/plugins/no-such-plugin", json=body)

    assert answer.status_code == status
    assert answer.json()["detail"]
