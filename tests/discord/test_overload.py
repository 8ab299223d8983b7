"""More interactions at the same time than can be handled in the 3 seconds that Discord waits for an acknowledgement."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from adapters.discord import autocomplete, event_handler, rate_limit, texts
from adapters.discord.modals import TextModal
from adapters.discord.rate_limit import WRITES_PER_WINDOW
from tests.discord.app_fixture import DiscordApp
from tests.discord.loopback.discord_server_state import Interaction
from tests.discord.simulated_users import COMPLETE, SimulatedUser, until


async def test_an_interaction_that_took_too_long_to_store_is_refused_and_not_resumed(
    app: DiscordApp, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, go_on = app.storage.inbox, asyncio.Event()
    save_event = inbox.save_event

    async def save_late(*event: Any) -> bool:
        await go_on.wait()
        return await save_event(*event)

    monkeypatch.setattr(inbox, "save_event", save_late)
    monkeypatch.setattr(event_handler, "SAVE_TIMEOUT_S", 0.05)
    refused = await ann.private_reply(ann.slash("imagine", prompt="a fox"))
    go_on.set()
    await until(lambda: not app.discord.event_handler._tasks)

    assert "another program" not in refused
    assert "Try again" in refused
    assert await inbox.pending_events("discord") == []


@pytest.mark.parametrize("opened", ["button", "menu"])
async def test_a_look_up_that_takes_too_long_says_so_and_is_no_answer(
    app: DiscordApp, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch, opened: str
) -> None:
    async def read_for_ever(*_: Any) -> None:
        await asyncio.Event().wait()

    message = ann.write_message("hello", mention=False)
    monkeypatch.setattr(type(app.application.usecases.chat), "job_of_message", read_for_ever)
    monkeypatch.setattr(event_handler, "READ_TIMEOUT_S", 0.05)
    reply = app.server.state.post(ann.channel, app.server.state.bot, "Edit or ask?", reply_to=message.id)
    sent = ann.menu(texts.ASK_ABOUT, message) if opened == "menu" else ann.press_unchecked(reply, "v1:ask:" + "a" * 16)

    assert "Try again" in await ann.private_reply(sent)


async def test_interactions_are_acknowledged_before_others_are_handled(
    app: DiscordApp, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    handler = app.discord.event_handler
    acknowledge, handle_event = handler._acknowledge, event_handler.actions.handle_event

    async def noted_acknowledge(*arguments: Any) -> Any:
        made = await acknowledge(*arguments)
        order.append("acknowledged")
        return made

    async def noted_handling(responder: Any) -> None:
        order.append("handled")
        await handle_event(responder)

    monkeypatch.setattr(handler, "_acknowledge", noted_acknowledge)
    monkeypatch.setattr(event_handler.actions, "handle_event", noted_handling)
    monkeypatch.setattr(event_handler, "MAX_UNACKNOWLEDGED", 2)
    asked = [ann.slash("queue") for _ in range(40)]
    await until(lambda: all(one.texts for one in asked), "all answers")

    assert "handled" not in order[:20]


def type_letter(user: SimulatedUser) -> Interaction:
    focused = {"name": "id", "type": 3, "value": "f", "focused": True}
    return user._send(COMPLETE, {"id": "1", "name": "show", "type": 1, "options": [focused]})


async def test_a_flood_of_keystrokes_is_dropped_and_keeps_nobody_else_from_suggestions(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser, caplog: pytest.LogCaptureFixture
) -> None:
    reads: Counter[str] = Counter()

    async def read_for_ever(event: Any) -> list[Any]:
        reads[event.account_id] += 1
        if event.account_id == str(ann.person.id):
            await asyncio.Event().wait()
        return []

    app.discord.context.find_recent_jobs = read_for_ever  # type: ignore[method-assign]
    for _ in range(40):
        type_letter(ann)

    assert await bob.complete("show", "id", "f") == []
    assert reads[str(ann.person.id)] == autocomplete.MAX_PENDING_PER_PERSON
    assert "Traceback" not in caplog.text


async def test_a_suggestion_that_discord_no_longer_accepts_is_no_error(
    app: DiscordApp, ann: SimulatedUser, caplog: pytest.LogCaptureFixture
) -> None:
    app.server.fail("POST", "/callback", 404, code=10062)
    type_letter(ann)
    await until(lambda: not app.server.rest.faults)

    assert await ann.complete("show", "id", "f") == []
    assert "Ignoring exception" not in caplog.text


async def test_replies_to_missing_messages_ask_discord_no_more_often_than_it_allows(
    app: DiscordApp, ann: SimulatedUser, real_pace: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "MAX_WAIT_S", 0.0)  # instead of sleeping
    for _ in range(30):
        message = ann.write_message("look", mention=False)
        app.server.state.remove(message)
        ann.write_message("what is it?", reply_to=message)
    await until(lambda: len(app.server.state.sent("GET", "/messages/")) >= WRITES_PER_WINDOW)
    await asyncio.sleep(0.1)

    assert len(app.server.state.sent("GET", "/messages/")) <= WRITES_PER_WINDOW
    assert app.server.rest.limits.refused == []


async def test_the_forms_that_people_open_and_never_send_are_not_kept() -> None:
    assert TextModal("v1:ask:aaaaaaaaaaaaaaaa", "ask", "en").is_finished()
