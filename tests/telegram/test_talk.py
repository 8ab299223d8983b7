"""Lists, settings and one's own data; hints; and what strangers may send."""

import json
import zipfile
from io import BytesIO
from typing import Any

import pytest

from bot.settings.core import QuotaSettings
from tests.telegram.easel_fixture import text_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOX = picture(3, 48, 32)


async def said(app, chat, person, text, number=1):
    """What the bot answers."""
    app.state.send_message(chat, person, text)
    return text_of(await app.bot_message(chat, number))


# ---------------------------------------------------------------- lists


async def test_help_lists_every_command_and_says_that_a_bot_makes_the_pictures(app, chat, ann):
    text = await said(app, chat, ann, "/help")

    assert "by a bot" in text
    for verb in ("imagine", "caption", "ask", "describe", "match", "edit", "queue", "cancel", "history", "show",
                 "quota", "settings", "models", "privacy"):  # fmt: skip
        assert f"/{verb}" in text
    assert "--" in text


async def test_start_shows_two_examples_and_a_button_that_runs_one(app, chat, ann):
    app.state.send_message(chat, ann, "/start something")
    welcome = await app.bot_message(chat)
    query = app.state.press(welcome, app.state.button(welcome, "pick"), ann)
    made = await app.finished_picture(chat, 2)

    assert text_of(welcome).count("/imagine") == 2
    assert "/help" in text_of(welcome)
    assert "by a bot" in text_of(welcome)
    assert welcome["reply_markup"]["inline_keyboard"][0][0]["text"] == "Try it"
    assert made["caption"].startswith("a red fox")
    assert "text" not in await app.callback_answer(query)


async def test_models_are_listed(app, chat, ann):
    assert "paint" in await said(app, chat, ann, "/models")


async def test_the_quota_is_shown(app, chat, ann):
    assert "s of compute today" in await said(app, chat, ann, "/quota")


async def test_the_menu_was_set(app):
    commands = app.server.methods.commands["default:"]

    assert {"imagine", "help"} <= {one["command"] for one in commands}
    assert all(1 <= len(one["description"]) <= 256 for one in commands)


async def test_the_queue_shows_ones_own_and_cancel_takes_a_name(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine a slow fox")
    await app.bot_message(chat)
    listed = await said(app, chat, ann, "/queue", 2)
    name = listed.split()[0]
    await said(app, chat, ann, f"/cancel {name}", 3)

    await app.message_with(chat, "Cancelled")
    assert "a slow fox" in listed


async def test_cancel_in_reply_to_a_message_means_that_one(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine a slow fox")
    app.state.send_message(chat, ann, "/imagine a slow owl")
    await app.bot_message(chat, 2)
    app.state.send_message(chat, ann, "/cancel", reply_to=app.state.bot_messages(chat)[1])

    await app.message_with(chat, "Cancelled", 2)
    app.pool.go_on.set()
    await app.finished_picture(chat, 1)


async def test_cancel_alone_means_the_only_one(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine a slow fox")
    await app.bot_message(chat)
    app.state.send_message(chat, ann, "/cancel")

    await app.message_with(chat, "Cancelled")


async def test_cancel_never_reaches_somebody_elses_job(app, group, ann, bob):
    app.state.send_message(group, ann, "/imagine a slow fox")
    placeholder = await app.bot_message(group)
    app.state.send_message(group, bob, "/cancel", reply_to=placeholder)
    refusal = await app.bot_message(group, 2)
    app.pool.go_on.set()

    assert "Only" in text_of(refusal)
    await app.finished_picture(group)


async def test_history_is_ones_own_and_can_be_searched(app, chat, ann, bob):
    await app.imagine_and_wait(chat, ann, "a red fox")
    await app.imagine_and_wait(chat, ann, "a blue owl")
    everything = await said(app, chat, ann, "/history", 3)
    found = await said(app, chat, ann, "/history owl", 4)
    strangers = await said(app, app.state.private(bob), bob, "/history fox")

    assert everything.index("a blue owl") < everything.index("a red fox")
    assert "a red fox" not in found
    assert "fox" not in strangers.replace("/history", "")


async def test_show_brings_a_picture_back_with_its_buttons(app, chat, ann):
    await app.imagine_and_wait(chat, ann, "a red fox")
    name = (await said(app, chat, ann, "/history", 2)).splitlines()[1].split()[1]
    app.state.send_message(chat, ann, f"/show {name}")
    shown = await app.finished_picture(chat, 3)
    app.state.press(shown, app.state.button(shown, "reroll"), ann)

    await app.finished_picture(chat, 4)


async def test_show_of_somebody_elses_job_finds_nothing(app, chat, ann, bob):
    await app.imagine_and_wait(chat, ann, "a red fox")
    name = (await said(app, chat, ann, "/history", 2)).splitlines()[1].split()[1]

    assert "You have no job called" in await said(app, app.state.private(bob), bob, f"/show {name}")


async def test_show_alone_brings_the_latest_picture_back(app, chat, ann):
    await app.imagine_and_wait(chat, ann, "a red fox")
    app.state.send_message(chat, ann, "/show")
    shown = await app.finished_picture(chat, 2)

    assert "a red fox" in shown["caption"]
    assert app.state.button(shown, "reroll")


async def test_a_search_is_cut_after_two_hundred_characters(app, chat, ann):
    await app.imagine_and_wait(chat, ann, "a red fox")

    assert "a red fox" in await said(app, chat, ann, f"/history fox{' fox' * 200} unheard", 2)


# ---------------------------------------------------------------- settings and privacy


async def test_defaults_are_shown_by_the_names_of_their_options(app, chat, ann):
    told = await said(app, chat, ann, "/settings guidance_scale 7")
    cleared = await said(app, chat, ann, "/settings guidance none", 2)

    assert "guidance: 7" in told
    assert "guidance_scale" not in told
    assert "/settings steps 30" in cleared


async def test_ones_own_data_is_deleted_without_a_button_by_an_option(app, chat, ann):
    await app.imagine_and_wait(chat, ann, "a fox to forget")

    assert "is deleted" in await said(app, chat, ann, "/privacy forget --confirm", 2)
    assert "no jobs yet" in await said(app, chat, ann, "/history", 3)


@pytest.mark.parametrize("words", ["steps 3", "--steps 3", "steps=3", "--steps=3"])
async def test_ones_own_defaults_are_used_and_can_be_taken_back(app, chat, ann, words):
    told = await said(app, chat, ann, f"/settings {words}")
    made = await app.imagine_and_wait(chat, ann)
    job = await app.application.usecases.chat.job_of_message("telegram", f"{chat['id']}:{made['message_id']}")
    taken_back = await said(app, chat, ann, "/settings steps default", 3)

    assert "steps: 3" in told
    assert job.options["steps"] == 3
    assert "steps" not in taken_back.partition(":")[0]


@pytest.mark.parametrize("words", ["colour red", "steps many", "steps 100000", "!!", "model nowhere"])
async def test_a_default_that_cannot_be_is_refused_with_a_sentence(app, chat, ann, words):
    assert len(await said(app, chat, ann, f"/settings {words}")) > 10


async def test_an_export_comes_as_a_file_to_the_person_alone(app, chat, ann, group):
    await app.imagine_and_wait(chat, ann, "a fox of mine")
    elsewhere = await said(app, group, ann, "/privacy export")
    app.state.send_message(chat, ann, "/privacy export")
    sent = await app.until(lambda: next((one for one in app.state.bot_messages(chat) if "document" in one), None))

    with zipfile.ZipFile(BytesIO(sent["original"])) as archive:
        assert "a fox of mine" in json.dumps(json.loads(archive.read("everything.json")))
    assert "private" in elsewhere
    assert not list(app.data_dir.rglob("*.zip"))


async def test_forget_asks_first_and_then_forgets(app, chat, ann):
    await app.imagine_and_wait(chat, ann, "a fox to forget")
    app.state.send_message(chat, ann, "/privacy forget")
    question = await app.message_with(chat, "sure", 2)
    assert "a fox to forget" in await said(app, chat, ann, "/history", 3)
    await app.callback_answer(app.state.press(question, "own:forget", ann))
    app.state.send_message(chat, ann, "/history")
    await app.wait_until_idle()

    assert "a fox to forget" not in text_of(app.state.bot_messages(chat)[-1])


async def test_nobody_makes_somebody_else_be_forgotten(app, group, ann, bob):
    await app.imagine_and_wait(group, ann, "a fox of Ann")
    app.state.send_message(group, ann, "/privacy forget")
    question = await app.message_with(group, "sure", 2)
    await app.callback_answer(app.state.press(question, "own:forget", bob))

    assert "a fox of Ann" in await said(app, group, ann, "/history", 3)


async def test_privacy_says_what_is_kept(app, chat, ann):
    assert "/privacy forget" in await said(app, chat, ann, "/privacy")


# ---------------------------------------------------------------- hints and refusals


@pytest.mark.parametrize("text", ["hello", "draw", "\U0001f98a", "?"])
async def test_bare_words_in_a_private_chat_are_answered_with_a_hint(app, chat, ann, text):
    assert "/imagine" in await said(app, chat, ann, text)


async def test_a_photo_without_words_is_answered_with_a_hint(app, chat, ann):
    app.state.send_photo(chat, ann, FOX)

    assert "/caption" in text_of(await app.bot_message(chat))


async def test_a_forwarded_photo_is_not_asked_about_because_its_caption_asks(app, chat, ann):
    origin = {"type": "hidden_user", "date": 1, "sender_user_name": "Eve"}
    app.state.send_photo(chat, ann, FOX, "Is it not lovely?", forward_origin=origin)

    assert "/caption" in text_of(await app.bot_message(chat))


async def test_an_unknown_command_in_a_private_chat_is_named(app, chat, ann):
    assert "Did you mean imagine" in await said(app, chat, ann, "/imagin a fox")
    assert "Did you mean history" in await said(app, chat, ann, "/histroy", 2)


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
async def test_what_cannot_be_looked_at_gets_one_sentence_alone_and_silence_in_a_group(app, chat, group, ann, content):
    app.state.send_message(group, ann, **content)
    app.state.send_message(chat, ann, **content)

    assert "pictures" in text_of(await app.bot_message(chat))
    assert app.state.bot_messages(group) == []


async def test_a_command_on_a_video_is_refused_with_a_sentence(app, chat, ann):
    app.state.send_message(chat, ann, **UNREADABLE[2], caption="/caption")

    assert "not a picture" in text_of(await app.bot_message(chat))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GIF89a but no more", "picture"),
        (b"<svg></svg>", "SVG"),
        (b"\x00" * 3000, "not a picture"),
        (FOX[:60], "damaged"),
    ],
)
async def test_a_file_that_only_says_it_is_a_picture_is_refused_with_a_sentence(app, chat, ann, data, words):
    document = app.state.document(data, "fox.png", "image/png")
    app.state.send_message(chat, ann, document=document, caption="/caption")

    assert words in text_of(await app.bot_message(chat))


async def test_a_file_too_large_is_refused_before_it_is_fetched(app, chat, ann):
    document = {**app.state.document(FOX, "fox.png", "image/png"), "file_size": 25 * 2**20}
    app.state.send_message(chat, ann, document=document, caption="/caption")

    assert "at most 10 MiB, or 20 in HEIC" in text_of(await app.bot_message(chat))
    assert document["file_id"] not in app.server.fetched


async def test_a_photo_beyond_the_allowance_of_a_day_is_refused_with_a_sentence(app, chat, ann, monkeypatch):
    monkeypatch.setitem(vars(app.application.usecases.media), "quota", QuotaSettings(daily_upload_mb=1e-7))
    photo = app.state.send_photo(chat, ann, picture(91, 48, 32), "/caption")

    assert "of the last 24 hours" in text_of(await app.bot_message(chat))
    assert photo["photo"][-1]["file_id"] not in app.server.fetched


async def test_a_prompt_of_ten_thousand_characters_is_refused_with_a_sentence(app, chat, ann):
    text = await said(app, chat, ann, "/imagine " + "fox " * 2500)

    assert "2000" in text.replace(",", "")


async def test_an_unknown_flag_is_refused_with_the_nearest(app, chat, ann):
    assert "seed" in await said(app, chat, ann, "/imagine a fox --sed 7")


async def test_a_command_without_what_it_needs_says_what(app, chat, ann):
    assert "picture" in await said(app, chat, ann, "/caption")
    assert "prompt" in await said(app, chat, ann, "/imagine", 2)


async def test_a_failure_of_the_engine_is_a_calm_sentence(app, chat, ann):
    app.state.send_message(chat, ann, "/imagine fail")
    failed = await app.message_with(chat, "weren't charged")

    assert "secret inner reason" not in text_of(failed)


async def test_a_mistake_of_our_own_is_a_calm_sentence(app, chat, ann, monkeypatch):
    def broken(*_arguments):
        raise RuntimeError("inner reason")

    monkeypatch.setattr("bot.chat.help_texts.format_models", broken)
    text = await said(app, chat, ann, "/models")

    assert "Something went wrong" in text
    assert "inner reason" not in text


async def test_an_edited_message_is_not_asked_again(app, chat, ann):
    asked = app.state.send_message(chat, ann, "/imagine a fox")
    await app.finished_picture(chat)
    app.state.add_update(edited_message={**asked, "text": "/imagine an owl", "edit_date": asked["date"]})
    await app.wait_until_idle()

    assert len(app.state.bot_messages(chat)) == 1


async def test_bots_and_channels_are_not_talked_to(app, group):
    bot = app.state.person("Rival", is_bot=True) | {"is_bot": True}
    channel = {"id": 777000, "is_bot": False, "first_name": "Telegram"}
    app.state.send_message(group, bot, "/imagine a fox")
    app.state.send_message(group, channel, "/imagine a fox", is_automatic_forward=True)
    app.state.send_message(group, app.state.person(), new_chat_title="/imagine")
    await app.wait_until_idle()

    assert app.state.bot_messages(group) == []


async def test_peoples_own_talk_is_not_even_kept(app, group, ann):
    kept = []
    app.state.send_message(group, ann, "a secret between us")
    await app.wait_until_idle(0.1)
    for path in app.data_dir.rglob("*"):
        if path.is_file():
            kept.append(b"a secret between us" in path.read_bytes())

    assert not any(kept)


async def test_a_flood_of_nonsense_gets_a_few_refusals_and_then_silence(app, chat, ann):
    for number in range(40):
        app.state.send_message(chat, ann, f"/imagine a fox --nonsense {number}")
    await app.wait_until_idle(0.5)

    assert 1 <= len(app.state.bot_messages(chat)) <= 10


async def test_a_flood_of_requests_is_refused_beyond_what_one_person_may_have(app, chat, ann):
    for number in range(16):
        app.state.send_message(chat, ann, f"/imagine a slow fox {number}")
    await app.until(lambda: any("unfinished" in text_of(one) for one in app.state.bot_messages(chat)))
    app.pool.go_on.set()
    await app.wait_until_idle(0.5)


async def test_an_author_without_a_name_is_answered(app):
    nameless = app.state.person("")  # as deleted accounts are

    assert await said(app, app.state.private(nameless), nameless, "/queue")
