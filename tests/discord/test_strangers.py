"""Bad input and strangers: a short sentence or silence, never a traceback, and nobody else's things."""

import pytest

from adapters.discord import texts
from tests.discord.app_fixture import House
from tests.discord.simulated_users import Actor, until
from tests.discord.test_conversation import a_photo, asked_by_mention, imagined, job_of

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
async def test_a_forged_button_is_answered_shortly(house: House, ann: Actor, custom_id: str) -> None:
    message = house.server.world.post(ann.channel, house.server.world.bot, "hello")

    pressed = ann.press_anyhow(message, custom_id)

    assert "not one of mine" in await ann.told(pressed)
    assert pressed.messages[0].ephemeral_for is ann.person


@pytest.mark.parametrize("action", ["cancel", "delete", "reroll", "vary", "upscale", "original", "pick"])
async def test_a_button_of_a_job_that_never_was_is_answered_shortly(house: House, ann: Actor, action: str) -> None:
    message = house.server.world.post(ann.channel, house.server.world.bot, "hello")
    number = ":1" if action == "pick" else ""

    pressed = ann.press_anyhow(message, f"v1:{action}:aaaaaaaaaaaaaaaa{number}")

    assert "aaaaaaaaaaaaaaaa" in await ann.told(pressed)


async def test_nobody_cancels_or_deletes_what_is_somebody_elses(house: House, ann: Actor, bob: Actor) -> None:
    made = await imagined(ann)
    ann.slash("imagine", prompt="a slow fox", steps=20)
    running = await ann.posted(2)

    delete, cancel = bob.press(made, "delete"), bob.press(running, "cancel")

    assert "yours" in await bob.told(delete)
    assert "Only the person" in await bob.told(cancel)
    assert made.id in ann.channel.messages
    house.pool.go_on.set()
    assert (await ann.finished(2)).attachments


async def test_nobody_sees_what_is_somebody_elses(house: House, ann: Actor, bob: Actor) -> None:
    made = await imagined(ann)
    job = await job_of(house, made)

    shown, cancelled = bob.slash("show", id=job.id), bob.slash("cancel", id=job.id)
    history = bob.slash("history")

    assert "of yours" in await bob.told(shown)
    assert "of yours" in await bob.told(cancelled)
    assert "not asked for anything" in await bob.told(history)
    assert await bob.complete("show", "id", "") == []


async def test_the_same_interaction_twice_is_one_job(house: House, ann: Actor) -> None:
    asked = ann.slash("imagine", prompt="a red fox")
    data = {"id": "1", "name": "imagine", "type": 1, "options": [{"name": "prompt", "type": 3, "value": "a red fox"}]}
    house.server.gateway.tell("INTERACTION_CREATE", ann._payload(asked, data))

    await ann.finished()
    await imagined(ann, "another")

    assert len(ann.channel.from_bot) == 2


async def test_a_prompt_of_ten_thousand_characters_is_refused_in_a_sentence(house: House, ann: Actor) -> None:
    asked = ann.slash_anyhow("imagine", {"prompt": "x" * 10_000})

    assert "at most 2000" in await ann.told(asked)


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
async def test_what_cannot_be_is_refused_in_a_sentence(house: House, ann: Actor, options: dict, part: str) -> None:
    asked = ann.slash_anyhow("imagine", options)

    assert part in await ann.told(asked)
    assert ann.channel.from_bot == []


async def test_a_command_of_an_older_version_is_answered(house: House, ann: Actor) -> None:
    asked = ann.slash_anyhow("paint", {"prompt": "a fox"})

    assert "do not know this command" in await ann.told(asked)


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
    house: House, ann: Actor, name: str, data: bytes, kind: str | None
) -> None:
    asked = ann.slash("caption", image=house.server.world.file(name, data, kind))

    assert "not a picture" in await ann.told(asked)


async def test_a_flood_of_one_person_is_bounded(house: House, ann: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = house.inner.usecases.jobs
    monkeypatch.setattr(jobs, "_queue", type(jobs._queue)(max_outstanding=3))
    asked = [ann.slash("imagine", prompt="a slow fox", steps=30) for _ in range(10)]

    await until(lambda: sum("unfinished jobs" in "".join(one.texts) for one in asked) == 7, "seven refusals")

    await ann.posted(3)
    assert len(ann.channel.from_bot) == 3


async def test_a_flood_of_mentions_holds_up_no_result(house: House, ann: Actor, bob: Actor, real_pace: None) -> None:
    for _ in range(40):
        bob.say("hello")

    ann.slash("imagine", prompt="a red fox")
    results = [one for one in ann.channel.from_bot if one.attachments]
    await until(lambda: any(one.attachments for one in ann.channel.from_bot), "a result", 40)

    assert results == []
    assert len(ann.channel.from_bot) < 40


async def test_a_question_of_ten_thousand_characters_is_refused_in_a_sentence(house: House, ann: Actor) -> None:
    ann.say("x" * 10_000 + "?", a_photo(house.server))

    assert "characters" in (await ann.posted()).content


# ---------------------------------------------------------------- messages


async def silent(house: House, ann: Actor) -> None:
    """Whatever was said before this had its time."""
    seen = len(ann.channel.from_bot)
    await imagined(ann)
    assert len(ann.channel.from_bot) == seen + 1


async def test_what_is_not_for_the_bot_is_not_heard(house: House, ann: Actor, bob: Actor) -> None:
    photo = ann.say("look at this", a_photo(house.server), mention=False)
    bob.say("what is it?", reply_to=photo, mention=False)
    ann.say("v1:cancel", mention=False)

    await silent(house, ann)


async def test_other_bots_webhooks_and_system_messages_are_not_heard(house: House, ann: Actor) -> None:
    robot = Actor(house.server, house.server.world.person("robot", is_bot=True), ann.channel)
    robot.say("what is it?", a_photo(house.server))
    ann.say("hook", extra={"webhook_id": "123"})
    ann.say("", kind=7)
    house.server.world.channel()
    seen = [one for one in ann.channel.from_bot if one.author is house.server.world.bot]

    await until(lambda: True)
    ann.slash("imagine", prompt="a fox")
    await until(
        lambda: [one for one in ann.channel.from_bot if one.author is house.server.world.bot and one.attachments],
        "a picture",
    )

    assert len([one for one in ann.channel.from_bot if one.author is house.server.world.bot]) == len(seen) + 1


async def test_a_reply_without_a_ping_is_not_heard(house: House, ann: Actor) -> None:
    made = await imagined(ann)
    ann.say("what is it?", reply_to=made, mention=False)

    await silent(house, ann)


async def test_a_mention_with_nothing_to_do_gets_a_hint(house: House, ann: Actor) -> None:
    ann.say("hello")

    assert "/imagine" in (await ann.posted()).content


@pytest.mark.parametrize("extra", [{"sticker_items": [{"id": "1", "name": "s", "format_type": 1}]}, {"poll": POLL}])
async def test_stickers_and_polls_get_a_hint_at_most(house: House, ann: Actor, extra: dict) -> None:
    private = ann.at(house.server.world.dm(ann.person))

    private.say("", extra=extra)

    assert "/imagine" in (await private.posted()).content


async def test_a_video_in_a_mention_gets_a_hint(house: House, ann: Actor) -> None:
    ann.say("what is it?", house.server.world.file("film.mp4", b"\0", "video/mp4"))

    assert "/imagine" in (await ann.posted()).content


async def test_a_voice_message_gets_a_hint(house: House, ann: Actor) -> None:
    private = ann.at(house.server.world.dm(ann.person))

    private.say("", house.server.world.file("voice-message.ogg", b"OggS", "audio/ogg"), extra={"flags": 8192})

    assert "/imagine" in (await private.posted()).content


async def test_edited_and_deleted_messages_change_nothing(house: House, ann: Actor) -> None:
    asked = ann.say("what is it?", a_photo(house.server))
    answer = await ann.finished()
    asked.content = "something else"
    house.server.gateway.tell("MESSAGE_UPDATE", asked.json())
    house.server.gateway.tell("MESSAGE_DELETE", {"id": str(asked.id), "channel_id": str(ann.channel.id)})

    await silent(house, ann)

    assert "It is what is it?" in answer.content


async def test_a_reply_to_a_deleted_message_gets_a_sentence(house: House, ann: Actor, bob: Actor) -> None:
    photo = bob.say("look", a_photo(house.server), mention=False)
    house.server.world.remove(photo)

    hint = await asked_by_mention(ann, photo)

    assert texts.ASK_ABOUT in hint.content


async def test_a_message_that_was_not_fetched_is_looked_up(house: House, ann: Actor, bob: Actor) -> None:
    house.server.world.may_read_content = True
    photo = bob.say("look", a_photo(house.server), mention=False)
    world = house.server.world
    asked = world.post(
        ann.channel, ann.person, f"<@{world.bot.id}> what is it?", reply_to=photo.id, mentions=[world.bot]
    )
    payload = asked.json()
    del payload["referenced_message"]
    house.server.gateway.tell("MESSAGE_CREATE", payload)

    assert "It is what is it?" in (await ann.finished()).content


async def test_a_menu_on_a_message_without_a_picture_says_so(house: House, ann: Actor) -> None:
    words = ann.say("just words", mention=False)

    asked = ann.menu(texts.ASK_ABOUT, words)

    assert "no picture" in await ann.told(asked)


async def test_a_modal_that_nobody_opened_is_answered_shortly(house: House, ann: Actor) -> None:
    sent = ann.submit_anyhow("menu:steal:1:2", "words")
    empty = ann.submit_anyhow("v1:ask:aaaaaaaaaaaaaaaa", "")

    assert "not one of mine" in await ann.told(sent)
    assert await ann.told(empty)


async def test_an_inner_mishap_is_a_calm_sentence_with_a_code(
    house: House, ann: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret inner reason")

    monkeypatch.setattr(type(house.inner.usecases.people), "identify", broken)

    asked = ann.slash("queue")

    told = await ann.told(asked)
    assert "Something went wrong" in told
    assert "secret" not in told


async def test_the_token_stands_in_no_log(house: House, ann: Actor, caplog: pytest.LogCaptureFixture) -> None:
    await imagined(ann)

    assert house.server.world.token not in caplog.text
