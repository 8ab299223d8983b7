"""Bad input and strangers: a short sentence or silence, never a traceback, and nobody else's things."""

import pytest

from adapters.discord import texts
from bot.chat import texts as chat_texts
from tests.discord.app_fixture import DiscordApp
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import a_photo, asked_by_mention, imagine_and_wait, job_of

POLL = {
    "question": {"text": "what is it?"},
    "answers": [{"answer_id": 1, "poll_media": {"text": "a fox"}}],
    "expiry": "2030-01-01T00:00:00+00:00",
    "allow_multiselect": False,
    "layout_type": 1,
}
FORGED = [
    "v1:delete:aaaaaaaaaaaaaaa",
    "v1:steal:aaaaaaaaaaaaaaaa",
    "v1:pick:aaaaaaaaaaaaaaaa:99",
    "v1:",
    "v1:cancel:../../etc/passwd",
    "v2:cancel:aaaaaaaaaaaaaaaa",
    "v1:cancel:aaaaaaaaaaaaaaaa\n",
    "something else",
    "v1:remix:aaaaaaaaaaaaaaaa",
]


@pytest.mark.parametrize("custom_id", FORGED)
async def test_a_forged_button_is_answered_shortly(app: DiscordApp, ann: SimulatedUser, custom_id: str) -> None:
    message = app.server.state.post(ann.channel, app.server.state.bot, "hello")

    pressed = ann.press_unchecked(message, custom_id)

    assert "no longer works" in await ann.private_reply(pressed)
    assert pressed.messages[0].ephemeral_for is ann.person


@pytest.mark.parametrize("action", ["cancel", "delete", "reroll", "vary", "upscale", "original", "pick"])
async def test_a_button_of_a_job_that_never_was_is_answered_shortly(
    app: DiscordApp, ann: SimulatedUser, action: str
) -> None:
    message = app.server.state.post(ann.channel, app.server.state.bot, "hello")
    number = ":1" if action == "pick" else ""

    pressed = ann.press_unchecked(message, f"v1:{action}:aaaaaaaaaaaaaaaa{number}")

    expected = "no longer works" if action == "delete" else "aaaaaaaaaaaaaaaa"
    assert expected in await ann.private_reply(pressed)


async def test_nobody_cancels_or_deletes_what_is_somebody_elses(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    made = await imagine_and_wait(ann)
    ann.slash("imagine", prompt="a slow fox", steps=20)
    running = await ann.posted(2)

    delete, cancel = bob.press(made, "delete"), bob.press(running, "cancel")

    assert await bob.private_reply(delete) == "Only the person who asked for it can do that."
    assert "Only the person" in await bob.private_reply(cancel)
    assert made.id in ann.channel.messages
    app.pool.go_on.set()
    assert (await ann.finished(2)).attachments


async def test_nobody_sees_what_is_somebody_elses(app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)
    job = await job_of(app, made)

    shown, cancelled = bob.slash("show", id=job.id), bob.slash("cancel", id=job.id)
    history = bob.slash("history")

    assert "no job called" in await bob.private_reply(shown)
    assert "no job called" in await bob.private_reply(cancelled)
    assert "no jobs yet" in await bob.private_reply(history)
    assert await bob.complete("show", "id", "") == []


async def test_the_same_interaction_twice_is_one_job(app: DiscordApp, ann: SimulatedUser) -> None:
    asked = ann.slash("imagine", prompt="a red fox")
    data = {"id": "1", "name": "imagine", "type": 1, "options": [{"name": "prompt", "type": 3, "value": "a red fox"}]}
    app.server.gateway.dispatch("INTERACTION_CREATE", ann._payload(asked, data))

    await ann.finished()
    await imagine_and_wait(ann, "another")

    assert len(ann.channel.from_bot) == 2


async def test_a_prompt_of_ten_thousand_characters_is_refused_in_a_sentence(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    asked = ann.slash_unchecked("imagine", {"prompt": "x" * 10_000})

    assert "limit is 2000" in await ann.private_reply(asked)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"prompt": "a fox", "size": "enormous"}, "size"),
        ({"prompt": "a fox", "model": "none"}, "model"),
        ({"prompt": "a fox", "aspect": "100:1"}, "aspect"),
        ({"prompt": "   "}, "prompt"),
        ({"prompt": "a fox", "strength": 0.5}, "strength"),
    ],
)
async def test_what_cannot_be_is_refused_in_a_sentence(
    app: DiscordApp, ann: SimulatedUser, options: dict, part: str
) -> None:
    asked = ann.slash_unchecked("imagine", options)

    assert part in await ann.private_reply(asked)
    assert ann.channel.from_bot == []


async def test_a_command_of_an_older_version_is_answered(app: DiscordApp, ann: SimulatedUser) -> None:
    asked = ann.slash_unchecked("paint", {"prompt": "a fox"})

    assert "no longer have that command" in await ann.private_reply(asked)


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("notes.txt", b"hello", "text/plain"),
        ("film.mp4", b"\0\0\0 ftypisom", "video/mp4"),
        ("voice.ogg", b"OggS", "audio/ogg"),
        ("fake.png", b"<svg/>", "image/png"),
        ("empty.png", b"", "image/png"),
        ("nothing", b"???", None),
    ],
)
async def test_a_file_that_is_no_picture_is_refused_in_a_sentence(
    app: DiscordApp, ann: SimulatedUser, name: str, data: bytes, kind: str | None
) -> None:
    asked = ann.slash("caption", image=app.server.state.file(name, data, kind))

    assert "not a picture" in await ann.private_reply(asked)


async def test_a_flood_of_one_person_is_bounded(
    app: DiscordApp, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = app.application.usecases.jobs
    monkeypatch.setattr(jobs, "_queue", type(jobs._queue)(max_outstanding=3))
    asked = [ann.slash("imagine", prompt="a slow fox", steps=30) for _ in range(10)]

    await until(lambda: sum("unfinished jobs" in "".join(one.texts) for one in asked) == 7, "seven refusals")

    await ann.posted(3)
    assert len(ann.channel.from_bot) == 3


async def test_a_flood_of_mentions_holds_up_no_result(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser, real_pace: None
) -> None:
    for _ in range(40):
        bob.write_message("hello")

    ann.slash("imagine", prompt="a red fox")
    results = [one for one in ann.channel.from_bot if one.attachments]
    await until(lambda: any(one.attachments for one in ann.channel.from_bot), "a result", 40)

    assert results == []
    assert len(ann.channel.from_bot) < 40


async def test_a_question_of_ten_thousand_characters_is_refused_in_a_sentence(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    ann.write_message("x" * 10_000 + "?", a_photo(app.server))

    assert "characters" in (await ann.posted()).content


# ---------------------------------------------------------------- messages


async def silent(app: DiscordApp, ann: SimulatedUser) -> None:
    """Wait until earlier messages have been handled."""
    seen = len(ann.channel.from_bot)
    await imagine_and_wait(ann)
    assert len(ann.channel.from_bot) == seen + 1


async def test_messages_to_others_are_ignored(app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser) -> None:
    photo = ann.write_message("look at this", a_photo(app.server), mention=False)
    bob.write_message("what is it?", reply_to=photo, mention=False)
    ann.write_message("v1:cancel", mention=False)

    await silent(app, ann)


async def test_other_bots_webhooks_and_system_messages_are_ignored(app: DiscordApp, ann: SimulatedUser) -> None:
    robot = SimulatedUser(app.server, app.server.state.person("robot", is_bot=True), ann.channel)
    robot.write_message("what is it?", a_photo(app.server))
    ann.write_message("hook", extra={"webhook_id": "123"})
    ann.write_message("", kind=7)
    app.server.state.channel()
    seen = [one for one in ann.channel.from_bot if one.author is app.server.state.bot]

    await until(lambda: True)
    ann.slash("imagine", prompt="a fox")
    await until(
        lambda: [one for one in ann.channel.from_bot if one.author is app.server.state.bot and one.attachments],
        "a picture",
    )

    assert len([one for one in ann.channel.from_bot if one.author is app.server.state.bot]) == len(seen) + 1


async def test_a_reply_without_a_ping_is_ignored(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)
    ann.write_message("what is it?", reply_to=made, mention=False)

    await silent(app, ann)


async def test_a_mention_with_nothing_to_do_gets_a_hint(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.write_message("hello")

    assert "/imagine" in (await ann.posted()).content


@pytest.mark.parametrize("extra", [{"sticker_items": [{"id": "1", "name": "s", "format_type": 1}]}, {"poll": POLL}])
async def test_stickers_and_polls_get_a_hint_at_most(app: DiscordApp, ann: SimulatedUser, extra: dict) -> None:
    private = ann.in_channel(app.server.state.dm(ann.person))

    private.write_message("", extra=extra)

    assert "/imagine" in (await private.posted()).content


async def test_a_mention_with_a_file_that_is_no_picture_is_told_so(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.write_message("what is it?", app.server.state.file("film.mp4", b"\0", "video/mp4"))

    assert (await ann.posted()).content == chat_texts.ONLY_PICTURES


async def test_a_voice_message_is_told_what_can_be_read(app: DiscordApp, ann: SimulatedUser) -> None:
    private = ann.in_channel(app.server.state.dm(ann.person))

    private.write_message("", app.server.state.file("voice-message.ogg", b"OggS", "audio/ogg"), extra={"flags": 8192})

    assert (await private.posted()).content == chat_texts.ONLY_PICTURES


async def test_edited_and_deleted_messages_change_nothing(app: DiscordApp, ann: SimulatedUser) -> None:
    asked = ann.write_message("what is it?", a_photo(app.server))
    answer = await ann.finished()
    asked.content = "something else"
    app.server.gateway.dispatch("MESSAGE_UPDATE", asked.json())
    app.server.gateway.dispatch("MESSAGE_DELETE", {"id": str(asked.id), "channel_id": str(ann.channel.id)})

    await silent(app, ann)

    assert "It is what is it?" in answer.content


async def test_a_reply_to_a_deleted_message_gets_a_sentence(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    photo = bob.write_message("look", a_photo(app.server), mention=False)
    app.server.state.remove(photo)

    hint = await asked_by_mention(ann, photo)

    assert texts.ASK_ABOUT in hint.content


async def test_a_message_that_was_not_fetched_is_looked_up(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    app.server.state.may_read_content = True
    photo = bob.write_message("look", a_photo(app.server), mention=False)
    state = app.server.state
    asked = state.post(
        ann.channel, ann.person, f"<@{state.bot.id}> what is it?", reply_to=photo.id, mentions=[state.bot]
    )
    payload = asked.json()
    del payload["referenced_message"]
    app.server.gateway.dispatch("MESSAGE_CREATE", payload)

    assert "It is what is it?" in (await ann.finished()).content


async def test_a_menu_on_a_message_without_a_picture_says_so(app: DiscordApp, ann: SimulatedUser) -> None:
    words = ann.write_message("just words", mention=False)

    asked = ann.menu(texts.ASK_ABOUT, words)

    assert "no picture" in await ann.private_reply(asked)


async def test_a_modal_that_nobody_opened_is_answered_shortly(app: DiscordApp, ann: SimulatedUser) -> None:
    sent = ann.submit_unchecked("menu:steal:1:2", "words")
    empty = ann.submit_unchecked("v1:ask:aaaaaaaaaaaaaaaa", "")

    assert "no longer works" in await ann.private_reply(sent)
    assert await ann.private_reply(empty)


async def test_a_forged_form_shows_no_picture_of_another_channel(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    app.server.state.may_read_content = True
    photo = ann.write_message("look", a_photo(app.server), mention=False)
    elsewhere = bob.in_channel(app.server.state.channel())

    sent = elsewhere.submit_unchecked(f"menu:ask:{ann.channel.id}:{photo.id}", "what is it?")

    assert "no longer works" in await elsewhere.private_reply(sent)
    assert app.server.state.sent("GET", f"/messages/{photo.id}") == []


async def test_an_inner_mishap_is_a_calm_sentence_with_a_code(
    app: DiscordApp, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret inner reason")

    monkeypatch.setattr(type(app.application.usecases.people), "identify_account", broken)

    asked = ann.slash("queue")

    told = await ann.private_reply(asked)
    assert "Something went wrong" in told
    assert "secret" not in told


async def test_the_token_stands_in_no_log(
    app: DiscordApp, ann: SimulatedUser, caplog: pytest.LogCaptureFixture
) -> None:
    await imagine_and_wait(ann)

    assert app.server.state.token not in caplog.text
