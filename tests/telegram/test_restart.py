"""A process that ends at any moment, and the next one that goes on: in process, and by a real SIGKILL."""

import asyncio
import os
import signal
import sqlite3
import time

import pytest

from tests.fork_server import client
from tests.telegram.easel_fixture import has_button, text_of
from tests.web.fake_pool import picture

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # A kill drops connections that are being opened, which Python 3.11 leaves to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


async def test_a_stored_update_that_was_not_submitted_is_resumed_after_a_restart(own_app, monkeypatch):
    app = own_app
    ann = app.state.person("Ann")
    chat = app.state.private(ann)
    reached = asyncio.Event()

    async def hang(*_arguments, **_more):
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(app.application.usecases.jobs, "submit", hang)
        await app.open()
        app.state.send_message(chat, ann, "/imagine a fox")
        await reached.wait()
        await app.close()
    await app.open()

    await app.finished_picture(chat)
    await app.wait_until_idle()
    assert len(app.state.bot_messages(chat)) == 1
    assert app.pool.imagined == 1


async def test_an_update_asked_for_and_not_yet_done_is_not_asked_for_twice(own_app, monkeypatch):
    app = own_app
    ann = app.state.person("Ann")
    chat = app.state.private(ann)
    reached = asyncio.Event()

    async def hang(*_arguments):
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(type(app.storage.inbox), "mark_done", hang)
        await app.open()
        app.state.send_message(chat, ann, "/imagine a fox")
        await reached.wait()
        await app.close()
    await app.open()

    await app.finished_picture(chat)
    await app.wait_until_idle()
    assert app.pool.imagined == 1


async def test_an_album_that_a_kill_cut_in_two_is_one_request(own_app):
    app = own_app
    ann = app.state.person("Ann")
    chat = app.state.private(ann)
    await app.open()
    app.state.album(chat, ann, [picture(number, 40, 40) for number in range(3)], "/caption")
    while not await app.storage.inbox.pending_events("telegram"):  # noqa: ASYNC110 - asked from outside
        await asyncio.sleep(0.005)
    await app.close()
    await app.open()

    await app.message_with(chat, "picture")
    await app.wait_until_idle(0.6)
    assert len(app.state.bot_messages(chat)) == 1
    assert len(app.pool.tasks) == 1


async def test_buttons_and_replies_from_before_a_restart_work(own_app):
    app = own_app
    ann = app.state.person("Ann")
    chat = app.state.private(ann)
    await app.open()
    made = await app.imagine_and_wait(chat, ann)
    await app.close()
    await app.open()
    app.state.press(made, app.state.button(made, "reroll"), ann)
    await app.finished_picture(chat, 2)
    app.state.send_message(chat, ann, "what is it?", reply_to=made)

    await app.message_with(chat, "It is what is it?", 3)


async def test_what_is_finished_while_the_adapter_is_away_arrives_in_its_placeholder(own_app):
    app = own_app
    ann = app.state.person("Ann")
    chat = app.state.private(ann)
    await app.open()
    app.state.send_message(chat, ann, "/imagine a slow fox")
    placeholder = await app.bot_message(chat)
    await app.close()
    app.pool.go_on.set()
    await app.open()

    assert (await app.finished_picture(chat))["message_id"] == placeholder["message_id"]


async def test_an_offer_made_before_a_restart_still_knows_the_words(own_app):
    app = own_app
    ann = app.state.person("Ann")
    chat = app.state.private(ann)
    await app.open()
    made = await app.imagine_and_wait(chat, ann)
    app.state.send_message(chat, ann, "the colour of its tail", reply_to=made)
    offer = await app.bot_message(chat, 2)
    await app.wait_until_idle(0.1)
    await app.close()
    await app.open()
    app.state.press(offer, app.state.button(offer, "ask"), ann)

    await app.until(lambda: any("the colour of its tail" in text_of(one) for one in app.state.bot_messages(chat)))


# ---------------------------------------------------------------- a real process

SERVER = """
import asyncio, os, sys
from pathlib import Path
from composition.server import serve
from composition.settings import load_settings
from bot.usecases import JobUseCases
if os.environ.get("HANG_AT") == "submit":
    async def submit(self, *arguments, **more):
        Path(os.environ["REACHED"]).touch()
        await asyncio.Event().wait()
    JobUseCases.submit = submit
loaded = load_settings(Path(os.environ["CONFIG"]))
asyncio.run(serve(loaded, engines="tests.inference.engines:build"))
"""
CONFIG = """
[web]
enabled = false
[storage]
min_free_mb = 0
[devices]
use = "cpu"
[models.test]
tasks = ["text-to-image"]
repo = "."
width = 64
height = 64
steps = 3
"""


class Process:
    """`serve` with test engines, in a process of its own."""

    def __init__(self, folder, server, forks):
        (folder / "config.toml").write_text(CONFIG)
        self._folder = folder
        self._forks = forks
        self._environ = {
            **os.environ,
            "EASEL_DATA_DIR": str(folder / "data"),
            "EASEL_TELEGRAM__API_BASE": server.api_base,
            "EASEL_TELEGRAM__FILE_BASE": server.file_base,
            "TELEGRAM_BOT_TOKEN": server.token,
            "CONFIG": str(folder / "config.toml"),
            "TMPDIR": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._process = None

    def start(self, **environ):
        with (self._folder / "output.txt").open("ab") as output:
            self._process = client.start(["-c", SERVER], self._forks, env={**self._environ, **environ}, output=output)

    def kill(self):
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def output(self):
        return (self._folder / "output.txt").read_text(encoding="utf-8")


@pytest.fixture
def process(tmp_path, server, server_forks):
    made = Process(tmp_path, server, server_forks)
    yield made
    made.kill()


async def until(holds, within_s=100.0):
    began = time.monotonic()
    while not (found := holds()):
        assert time.monotonic() < began + within_s, "it did not come true"
        await asyncio.sleep(0.05)
    return found


def finished(server, chat):
    return [one for one in server.state.bot_messages(chat) if has_button(one, "original")]


@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(300)
async def test_a_killed_server_asks_once_and_delivers_into_its_placeholder(process, server, tmp_path):
    ann = server.state.person("Ann")
    chat = server.state.private(ann)
    reached, go_on = tmp_path / "reached", tmp_path / "go-on"

    admin = {"EASEL_TELEGRAM__ADMINS": str(ann["id"])}  # nothing can look at pictures here
    process.start(HANG_AT="submit", REACHED=str(reached), **admin)
    server.state.send_message(chat, ann, f"/imagine a fox wait-for={go_on}")
    await until(reached.exists)  # the update is kept, nothing is asked for
    process.kill()

    process.start(**admin)
    placeholder = (await until(lambda: server.state.bot_messages(chat)))[0]
    await until(lambda: "running" in states(tmp_path))
    await until(lambda: placeholders(tmp_path))  # its message is known: one that is only sent would be sent again
    process.kill()  # the job runs

    process.start(**admin)
    for _ in range(10):
        go_on.touch()
        await asyncio.sleep(0.3)
    while not finished(server, chat):
        go_on.touch()
        await asyncio.sleep(0.3)

    assert [one["message_id"] for one in finished(server, chat)] == [placeholder["message_id"]]
    assert len(states(tmp_path)) == 1
    assert server.token.partition(":")[2] not in process.output()


def placeholders(folder):
    with sqlite3.connect(next((folder / "data").glob("*.db"))) as database:
        sent = "SELECT message_ref FROM outbox WHERE kind = 'placeholder' AND message_ref IS NOT NULL"
        return database.execute(sent).fetchall()


def states(folder):
    with sqlite3.connect(next((folder / "data").glob("*.db"))) as database:
        return [state for (state,) in database.execute("SELECT state FROM job")]
