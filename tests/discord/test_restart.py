"""Lives that end in the middle: what was kept is done once, what runs comes back to its message."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from adapters.discord import actions
from tests.discord.app_fixture import open_app
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import a_photo, imagine_and_wait, job_of
from tests.fork_server import client
from tests.fork_server.client import Forks

STEPS = 12


async def test_a_running_job_comes_back_to_its_placeholder(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    async with open_app(data_dir, server) as first:
        first.start()
        await first.wait_until_ready()
        asked = ann.slash("imagine", prompt="a slow fox", steps=STEPS)
        placeholder = await ann.posted()
        await until(lambda: "Step" in placeholder.content or "Working" in placeholder.content, "progress")
        await until(lambda: not asked.messages, "the deferral to go")
    before = len(placeholder.edits)
    async with open_app(data_dir, server) as second:
        second.start()
        await until(lambda: len(placeholder.edits) > before, "progress after the restart")
        second.pool.go_on.set()

        message = await ann.finished()

        assert message is placeholder
        assert len(ann.channel.from_bot) == 1
        assert message.attachments[0].filename.endswith(".png")


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Events are kept and acknowledged, and then nothing happens until this is set."""
    go_on = asyncio.Event()
    act = actions.handle_event

    async def wait(turn) -> None:
        await go_on.wait()
        await act(turn)

    monkeypatch.setattr(actions, "handle_event", wait)
    return go_on


async def test_what_was_acknowledged_and_not_done_is_done_after_a_restart_once(
    data_dir: Path, server: Loopback, ann: SimulatedUser, stuck: asyncio.Event
) -> None:
    async with open_app(data_dir, server) as first:
        first.start()
        await first.wait_until_ready()
        asked = ann.slash("imagine", prompt="a red fox")
        await until(lambda: asked.answers, "the deferral")
        await asyncio.sleep(0.1)
    stuck.set()
    for _ in range(2):
        async with open_app(data_dir, server) as later:
            later.start()
            message = await ann.finished()
            await later.wait_until_ready()
            while await later.storage.inbox.pending_events("discord"):  # noqa: ASYNC110 - asked from outside
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)

    assert message.attachments
    assert len(ann.channel.from_bot) == 1
    assert not asked.messages


async def test_what_was_kept_but_never_acknowledged_is_done_too(
    data_dir: Path, server: Loopback, ann: SimulatedUser, stuck: asyncio.Event
) -> None:
    async with open_app(data_dir, server) as first:
        first.start()
        await first.wait_until_ready()
        server.fail("POST", "/callback", "hang")
        ann.slash("imagine", prompt="a red fox")
        await until(lambda: server.state.sent("POST", "/callback"), "the deferral")
    stuck.set()
    async with open_app(data_dir, server) as second:
        second.start()

        assert (await ann.finished()).attachments


async def test_a_job_that_was_accepted_just_before_the_end_is_made_once(
    data_dir: Path, server: Loopback, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_app(data_dir, server) as first:
        first.start()
        await first.wait_until_ready()
        monkeypatch.setattr(first.storage.inbox, "mark_done", never)
        ann.slash("imagine", prompt="a red fox")
        await ann.finished()
        assert len(await first.storage.inbox.pending_events("discord")) == 1
    async with open_app(data_dir, server) as second:
        second.start()
        while await second.storage.inbox.pending_events("discord"):  # noqa: ASYNC110 - asked from outside
            await asyncio.sleep(0.02)
        person = await second.person(ann.person.id)

        jobs, _ = await second.application.usecases.jobs.list_tickets(person)

        assert len(jobs) == 1
        assert len(ann.channel.from_bot) == 1


async def never(*_: object) -> None:
    await asyncio.Event().wait()


async def test_a_question_in_a_message_is_answered_after_a_restart(
    data_dir: Path, server: Loopback, ann: SimulatedUser, stuck: asyncio.Event
) -> None:
    async with open_app(data_dir, server) as first:
        first.start()
        await first.wait_until_ready()
        ann.write_message("what is it?", a_photo(server))
        while not await first.storage.inbox.pending_events("discord"):  # noqa: ASYNC110 - asked from outside
            await asyncio.sleep(0.02)
    stuck.set()
    async with open_app(data_dir, server) as second:
        second.start()

        assert "It is what is it?" in (await ann.finished()).content


async def test_a_modal_that_was_open_over_a_restart_still_works(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    state = server.state
    photo = state.post(ann.channel, ann.person, mentions=[state.bot], attachments=[a_photo(server)])
    async with open_app(data_dir, server) as first:
        first.start()
        await first.wait_until_ready()
        opened_modal = ann.menu("Ask about this image", photo)
        await until(lambda: opened_modal.modal, "the modal")
    async with open_app(data_dir, server) as second:
        second.start()
        await second.wait_until_ready()
        await ann.submit(opened_modal, "what is it?")

        assert "It is what is it?" in (await ann.finished()).content


async def test_replies_to_messages_from_before_a_restart_are_understood(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    async with open_app(data_dir, server) as first:
        first.start()
        await first.wait_until_ready()
        made = await imagine_and_wait(ann)
        job = await job_of(first, made)
    async with open_app(data_dir, server) as second:
        second.start()
        await second.wait_until_ready()
        ann.write_message("what is it?", reply_to=made)

        answer = await job_of(second, await ann.finished(2))

    assert answer.images[0].id == job.result.media[0].id


async def test_short_answers_after_a_restart_reach_their_person(
    data_dir: Path, server: Loopback, ann: SimulatedUser, stuck: asyncio.Event
) -> None:
    async with open_app(data_dir, server) as first:
        first.start()
        await first.wait_until_ready()
        asked = ann.slash("queue")
        await until(lambda: asked.answers, "the deferral")
        await asyncio.sleep(0.1)
    stuck.set()
    async with open_app(data_dir, server) as second:
        second.start()
        await until(lambda: any("queue is empty" in one for one in asked.texts), "the answer")

        assert all(one.ephemeral_for is ann.person for one in asked.messages)


# ---------------------------------------------------------------- a real process, really killed


class Serve:
    """`main.py serve` with engines that do what the prompt says, on a loopback Discord."""

    def __init__(self, data_dir: Path, server: Loopback, admin: int, forks: Forks) -> None:
        environ = {
            **os.environ,
            "EASEL_DATA_DIR": str(data_dir),
            "EASEL_WEB__PORT": "0",
            "EASEL_DEVICES__USE": "cpu",
            "DISCORD_TOKEN": "a-bot-token",
            "EASEL_DISCORD__ADMINS": str(admin),  # nothing can look at pictures here
            "EASEL_DISCORD__API_BASE": server.api_base,
            "EASEL_DISCORD__GATEWAY_URL": server.gateway_url,
        }
        self.log = data_dir / "server.txt"
        with self.log.open("a") as log:
            self.process = client.start(["-m", "tests.crash.server"], forks, env=environ, output=log)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_job_that_runs_at_a_sigkill_is_delivered_by_the_next_process(
    tmp_path: Path, server: Loopback, ann: SimulatedUser, server_forks: Forks
) -> None:
    first = Serve(tmp_path, server, ann.person.id, server_forks)
    try:
        await until(lambda: server.state.commands or first.process.poll() is not None, first.log.read_text(), 90)
        ann.slash("imagine", prompt="a red fox sleep=0.1", seed=7, steps=20, count=4)
        placeholder = await ann.posted()
        await until(lambda: placeholder.edits, "progress", 90)
    finally:
        first.kill()
    second = Serve(tmp_path, server, ann.person.id, server_forks)
    try:
        await until(lambda: len(placeholder.attachments) == 4, "the result", 100)
    finally:
        second.kill()

    assert len(ann.channel.from_bot) == 1
