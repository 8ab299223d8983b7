"""Lists, settings and one's own data; hints; and what strangers may send."""

import json
import zipfile
from io import BytesIO
from typing import Any

import pytest

from tests.telegram.easel_fixture import words_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOX = picture(3, 48, 32)


async def said(town, chat, person, text, number=1):
    """What the bot answers."""
    town.world.say(chat, person, text)
    return words_of(await town.answer(chat, number))


# ---------------------------------------------------------------- lists


async def test_help_lists_every_command_and_says_that_a_bot_makes_the_pictures(town, chat, ann):
    text = await said(town, chat, ann, "/help")

    assert "by a bot" in text
    for verb in ("imagine", "caption", "ask", "describe", "match", "edit", "queue", "cancel", "history", "show",
                 "quota", "settings", "models", "privacy"):  # fmt: skip
        assert f"/{verb}" in text
    assert "--" in text


async def test_start_is_help(town, chat, ann):
    assert await said(town, chat, ann, "/start something") == await said(town, chat, ann, "/help", 2)


async def test_models_are_listed(town, chat, ann):
    assert "paint" in await said(town, chat, ann, "/models")


async def test_the_quota_is_told(town, chat, ann):
    assert "device-seconds" in await said(town, chat, ann, "/quota")


async def test_the_menu_was_set(town):
    commands = town.server.methods.commands["default:"]

    assert {"imagine", "help"} <= {one["command"] for one in commands}
    assert all(1 <= len(one["description"]) <= 256 for one in commands)


async def test_the_queue_shows_ones_own_and_cancel_takes_a_name(town, chat, ann):
    town.world.say(chat, ann, "/imagine a slow fox")
    await town.answer(chat)
    listed = await said(town, chat, ann, "/queue", 2)
    name = listed.split()[0]
    await said(town, chat, ann, f"/cancel {name}", 3)

    await town.text(chat, "Cancelled")
    assert "a slow fox" in listed


async def test_cancel_in_reply_to_a_message_means_that_one(town, chat, ann):
    town.world.say(chat, ann, "/imagine a slow fox")
    town.world.say(chat, ann, "/imagine a slow owl")
    await town.answer(chat, 2)
    town.world.say(chat, ann, "/cancel", reply_to=town.world.shown(chat)[1])

    await town.text(chat, "Cancelled", 2)
    town.pool.go_on.set()
    await town.picture(chat, 1)


async def test_cancel_alone_means_the_only_one(town, chat, ann):
    town.world.say(chat, ann, "/imagine a slow fox")
    await town.answer(chat)
    town.world.say(chat, ann, "/cancel")

    await town.text(chat, "Cancelled")


async def test_cancel_never_reaches_somebody_elses_job(town, group, ann, bob):
    town.world.say(group, ann, "/imagine a slow fox")
    placeholder = await town.answer(group)
    town.world.say(group, bob, "/cancel", reply_to=placeholder)
    refusal = await town.answer(group, 2)
    town.pool.go_on.set()

    assert "Only" in words_of(refusal)
    await town.picture(group)


async def test_history_is_ones_own_and_can_be_searched(town, chat, ann, bob):
    await town.imagined(chat, ann, "a red fox")
    await town.imagined(chat, ann, "a blue owl")
    everything = await said(town, chat, ann, "/history", 3)
    found = await said(town, chat, ann, "/history owl", 4)
    strangers = await said(town, town.world.private(bob), bob, "/history fox")

    assert everything.index("a blue owl") < everything.index("a red fox")
    assert "a red fox" not in found
    assert "fox" not in strangers.replace("/history", "")


async def test_show_brings_a_picture_back_with_its_buttons(town, chat, ann):
    await town.imagined(chat, ann, "a red fox")
    name = (await said(town, chat, ann, "/history", 2)).splitlines()[1].split()[0]
    town.world.say(chat, ann, f"/show {name}")
    shown = await town.picture(chat, 3)
    town.world.press(shown, town.world.button(shown, "reroll"), ann)

    await town.picture(chat, 4)


async def test_show_of_somebody_elses_job_finds_nothing(town, chat, ann, bob):
    await town.imagined(chat, ann, "a red fox")
    name = (await said(town, chat, ann, "/history", 2)).splitlines()[1].split()[0]

    assert "There is no" in await said(town, town.world.private(bob), bob, f"/show {name}")


# ---------------------------------------------------------------- settings and privacy


@pytest.mark.parametrize("words", ["steps 3", "--steps 3", "steps=3", "--steps=3"])
async def test_ones_own_defaults_are_used_and_can_be_taken_back(town, chat, ann, words):
    told = await said(town, chat, ann, f"/settings {words}")
    made = await town.imagined(chat, ann)
    job = await town.house.usecases.chat.of_message("telegram", f"{chat['id']}:{made['message_id']}")
    taken_back = await said(town, chat, ann, "/settings steps default", 3)

    assert "steps: 3" in told
    assert job.options["steps"] == 3
    assert "steps" not in taken_back.partition(":")[0]


@pytest.mark.parametrize("words", ["colour red", "steps many", "steps 100000", "!!", "model nowhere"])
async def test_a_default_that_cannot_be_is_refused_with_a_sentence(town, chat, ann, words):
    assert len(await said(town, chat, ann, f"/settings {words}")) > 10


async def test_an_export_comes_as_a_file_to_the_person_alone(town, chat, ann, group):
    await town.imagined(chat, ann, "a fox of mine")
    elsewhere = await said(town, group, ann, "/privacy export")
    town.world.say(chat, ann, "/privacy export")
    sent = await town.until(lambda: next((one for one in town.world.shown(chat) if "document" in one), None))

    with zipfile.ZipFile(BytesIO(sent["original"])) as archive:
        assert "a fox of mine" in json.dumps(json.loads(archive.read("everything.json")))
    assert "private" in elsewhere
    assert not list(town.data_dir.rglob("*.zip"))


async def test_forget_asks_first_and_then_forgets(town, chat, ann):
    await town.imagined(chat, ann, "a fox to forget")
    town.world.say(chat, ann, "/privacy forget")
    question = await town.text(chat, "sure", 2)
    assert "a fox to forget" in await said(town, chat, ann, "/history", 3)
    await town.answered(town.world.press(question, "own:forget", ann))
    town.world.say(chat, ann, "/history")
    await town.quiet()

    assert "a fox to forget" not in words_of(town.world.shown(chat)[-1])


async def test_nobody_makes_somebody_else_be_forgotten(town, group, ann, bob):
    await town.imagined(group, ann, "a fox of Ann")
    town.world.say(group, ann, "/privacy forget")
    question = await town.text(group, "sure", 2)
    await town.answered(town.world.press(question, "own:forget", bob))

    assert "a fox of Ann" in await said(town, group, ann, "/history", 3)


async def test_privacy_says_what_is_kept(town, chat, ann):
    assert "/privacy forget" in await said(town, chat, ann, "/privacy")


# ---------------------------------------------------------------- hints and refusals


@pytest.mark.parametrize("text", ["hello", "draw me a fox", "\U0001f98a", "?"])
async def test_bare_words_in_a_private_chat_are_answered_with_a_hint(town, chat, ann, text):
    assert "/imagine" in await said(town, chat, ann, text)


async def test_a_photo_without_words_is_answered_with_a_hint(town, chat, ann):
    town.world.show(chat, ann, FOX)

    assert "/caption" in words_of(await town.answer(chat))


async def test_a_forwarded_photo_is_not_asked_about_because_its_caption_asks(town, chat, ann):
    origin = {"type": "hidden_user", "date": 1, "sender_user_name": "Eve"}
    town.world.show(chat, ann, FOX, "Is it not lovely?", forward_origin=origin)

    assert "/caption" in words_of(await town.answer(chat))


async def test_an_unknown_command_in_a_private_chat_is_named(town, chat, ann):
    assert "Did you mean imagine" in await said(town, chat, ann, "/imagin a fox")
    assert "Did you mean history" in await said(town, chat, ann, "/histroy", 2)


UNREADABLE: list[dict[str, Any]] = [
    {"sticker": {"file_id": "s", "file_unique_id": "s", "type": "regular", "width": 9, "height": 9,
                 "is_animated": False, "is_video": False}},
    {"voice": {"file_id": "v", "file_unique_id": "v", "duration": 3}},
    {"video": {"file_id": "v", "file_unique_id": "v", "width": 9, "height": 9, "duration": 3}},
    {"video_note": {"file_id": "v", "file_unique_id": "v", "length": 9, "duration": 3}},
    {"audio": {"file_id": "a", "file_unique_id": "a", "duration": 3}},
    {"dice": {"emoji": "\U0001f3b2", "value": 3}},
    {"location": {"longitude": 1.0, "latitude": 1.0}},
    {"document": {"file_id": "d", "file_unique_id": "d", "mime_type": "application/pdf", "file_name": "x.pdf"}},
    {"poll": {"id": "1", "question": "?", "options": [], "total_voter_count": 0, "is_closed": False,
              "is_anonymous": True, "type": "regular", "allows_multiple_answers": False, "allows_revoting": False}},
]  # fmt: skip


@pytest.mark.parametrize("content", UNREADABLE, ids=lambda content: next(iter(content)))
async def test_what_cannot_be_looked_at_gets_one_sentence_alone_and_silence_in_a_group(town, chat, group, ann, content):
    town.world.say(group, ann, **content)
    town.world.say(chat, ann, **content)

    assert "pictures" in words_of(await town.answer(chat))
    assert town.world.shown(group) == []


async def test_a_command_on_a_video_is_refused_with_a_sentence(town, chat, ann):
    town.world.say(chat, ann, **UNREADABLE[2], caption="/caption")

    assert "not a picture" in words_of(await town.answer(chat))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GIF89a but no more", "picture"),
        (b"<svg></svg>", "SVG"),
        (b"\x00" * 3000, "not a picture"),
        (FOX[:60], "damaged"),
    ],
)
async def test_a_file_that_only_says_it_is_a_picture_is_refused_with_a_sentence(town, chat, ann, data, words):
    document = town.world.document(data, "fox.png", "image/png")
    town.world.say(chat, ann, document=document, caption="/caption")

    assert words in words_of(await town.answer(chat))


async def test_a_file_too_large_is_refused_before_it_is_fetched(town, chat, ann):
    document = {**town.world.document(FOX, "fox.png", "image/png"), "file_size": 25 * 2**20}
    town.world.say(chat, ann, document=document, caption="/caption")

    assert "too large" in words_of(await town.answer(chat))
    assert document["file_id"] not in town.server.fetched


async def test_a_prompt_of_ten_thousand_characters_is_refused_with_a_sentence(town, chat, ann):
    text = await said(town, chat, ann, "/imagine " + "fox " * 2500)

    assert "2000" in text.replace(",", "")


async def test_an_unknown_flag_is_refused_with_the_nearest(town, chat, ann):
    assert "seed" in await said(town, chat, ann, "/imagine a fox --sed 7")


async def test_a_command_without_what_it_needs_says_what(town, chat, ann):
    assert "picture" in await said(town, chat, ann, "/caption")
    assert "prompt" in await said(town, chat, ann, "/imagine", 2)


async def test_a_failure_of_the_engine_is_a_calm_sentence(town, chat, ann):
    town.world.say(chat, ann, "/imagine fail")
    failed = await town.text(chat, "weren't charged")

    assert "secret inner reason" not in words_of(failed)


async def test_a_mistake_of_our_own_is_a_calm_sentence(town, chat, ann, monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("inner reason")

    monkeypatch.setattr("bot.chat.texts.say_models", broken)
    text = await said(town, chat, ann, "/models")

    assert "Something went wrong" in text
    assert "inner reason" not in text


async def test_an_edited_message_is_not_asked_again(town, chat, ann):
    asked = town.world.say(chat, ann, "/imagine a fox")
    await town.picture(chat)
    town.world.tell(edited_message={**asked, "text": "/imagine an owl", "edit_date": asked["date"]})
    await town.quiet()

    assert len(town.world.shown(chat)) == 1


async def test_bots_and_channels_are_not_talked_to(town, group):
    bot = town.world.person("Rival", is_bot=True) | {"is_bot": True}
    channel = {"id": 777000, "is_bot": False, "first_name": "Telegram"}
    town.world.say(group, bot, "/imagine a fox")
    town.world.say(group, channel, "/imagine a fox", is_automatic_forward=True)
    town.world.say(group, town.world.person(), new_chat_title="/imagine")
    await town.quiet()

    assert town.world.shown(group) == []


async def test_peoples_own_talk_is_not_even_kept(town, group, ann):
    kept = []
    town.world.say(group, ann, "a secret between us")
    await town.quiet(0.1)
    for path in town.data_dir.rglob("*"):
        if path.is_file():
            kept.append(b"a secret between us" in path.read_bytes())

    assert not any(kept)


async def test_a_flood_of_nonsense_gets_a_few_refusals_and_then_silence(town, chat, ann):
    for number in range(40):
        town.world.say(chat, ann, f"/imagine a fox --nonsense {number}")
    await town.quiet(0.5)

    assert 1 <= len(town.world.shown(chat)) <= 10


async def test_a_flood_of_requests_is_refused_beyond_what_one_person_may_have(town, chat, ann):
    for number in range(16):
        town.world.say(chat, ann, f"/imagine a slow fox {number}")
    await town.until(lambda: any("unfinished" in words_of(one) for one in town.world.shown(chat)))
    town.pool.go_on.set()
    await town.quiet(0.5)
