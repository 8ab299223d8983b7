"""Telegram's limits: lengths in UTF-16, sizes, and how often a bot may write (on a made-up clock)."""

import heapq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.telegram.code_entities import mark_commands
from adapters.telegram.polling import MAX_WAIT_S, backoff_s
from adapters.telegram.rate_limit import Lane, RateLimit, RateLimits, TelegramRateLimiter
from adapters.telegram.text_limits import MAX_CAPTION, truncate, truncate_caption, utf16_length
from tests.telegram.easel_fixture import RATES, build_app, text_of
from tests.telegram.flood_limits import FloodLimits
from tests.telegram.rules import problems_of

FOX = "\U0001f98a"
SETUP = "easel setup"
KEYBOARD = '{"inline_keyboard": [[{"text": "a", "callback_data": "' + "x" * 65 + '"}]]}'
GROUP, PRIVATE = -100, 100


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


# ---------------------------------------------------------------- lengths


def test_command_lines_are_code_and_other_backticks_stay():
    plain, entities = mark_commands(f"{FOX} `{SETUP}`, a `word`. `{SETUP}`")

    assert plain == f"{FOX} {SETUP}, a `word`. {SETUP}"
    assert [(one.type, one.offset, one.length) for one in entities] == [("code", 3, 11), ("code", 26, 11)]
    assert mark_commands("a `word`") == ("a `word`", None)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.integers(2, 40))
def test_a_cut_text_fits_and_no_pair_is_split(text, limit):
    short = truncate(text, limit)

    assert len(short.encode("utf-16-le")) // 2 <= limit
    assert utf16_length(short) == len(short.encode("utf-16-le")) // 2


def test_a_text_that_fits_is_left_alone():
    assert truncate(FOX * 512, 1024) == FOX * 512


def test_a_text_too_long_ends_in_an_ellipsis():
    assert truncate(FOX * 513, 1024) == FOX * 511 + "\u2026"


@pytest.mark.parametrize("before", ["", "abcdefgh  imagine\n"])
def test_of_a_long_caption_the_prompt_is_cut_and_the_facts_stay(before):
    facts = "\n64x64, seed 7\n1. a red fox\n2. a blue fox"
    short = truncate_caption(before + FOX * 900 + facts)

    assert short.startswith(before + FOX)
    assert short.endswith("\u2026" + facts)
    assert MAX_CAPTION - 1 <= utf16_length(short) <= MAX_CAPTION
    assert utf16_length(truncate_caption("a\n" * 900)) <= MAX_CAPTION


def test_half_a_pair_does_not_break_the_message():
    assert truncate("a\ud83eb", 10) == "a?b"


# ---------------------------------------------------------------- pace


@pytest.mark.parametrize(("tries", "longest"), [(0, 1), (3, 8), (10, MAX_WAIT_S), (10_000, MAX_WAIT_S)])
def test_in_an_outage_updates_are_asked_for_every_minute_at_most(tries, longest):
    waits = [backoff_s(tries) for _ in range(200)]

    assert MAX_WAIT_S <= 60
    assert longest / 2 <= min(waits)
    assert longest * 0.9 < max(waits) <= longest


def test_an_idle_chat_is_written_to_immediately():
    pace = TelegramRateLimiter(clock=Clock())

    assert pace.reserve(PRIVATE, "a") == 0


def drive(pace, clock, floods, chats, seconds, *, progress=True):
    """Somebody who has something to say in every chat all the time, and obeys."""
    said = dict.fromkeys(chats, 0)
    due = dict.fromkeys(chats, 0.0)
    end = clock.now + seconds
    while clock.now < end:
        for chat in chats:
            if clock.now >= due[chat]:
                wait_s = pace.reserve(chat, "next")
                due[chat] = clock.now + wait_s
                if wait_s == 0:
                    assert floods.check(chat, "sendMessage") == 0
                    said[chat] += 1
            if progress and pace.try_progress(chat):
                assert floods.check(chat, "editMessageText") == 0
        clock.now += 0.05
    return said


@pytest.mark.parametrize(
    "chats", [[PRIVATE], [GROUP], [*range(1, 60)], [*range(-60, 0)]], ids=["one", "group", "many", "groups"]
)
def test_no_flood_is_caused_however_much_there_is_to_say(chats):
    clock = Clock()
    pace, floods = TelegramRateLimiter(clock=clock), FloodLimits(clock)

    said = drive(pace, clock, floods, chats, 130)

    assert all(said.values())
    assert floods.refused == []


def test_a_group_gets_nearly_all_that_it_may():
    clock = Clock()

    said = drive(TelegramRateLimiter(clock=clock), clock, FloodLimits(clock), [GROUP], 600, progress=False)

    assert said[GROUP] >= 180


def test_progress_leaves_room_for_results():
    clock = Clock()
    pace = TelegramRateLimiter(clock=clock)
    shown = 0
    for _ in range(600):
        clock.now += 0.1
        shown += pace.try_progress(GROUP)

    assert 1 <= shown <= 5
    assert [pace.reserve(GROUP, f"result {number}") for number in range(3)] == [0, 0, 0]


def test_progress_is_not_shown_while_anybody_waits():
    clock = Clock()
    pace = TelegramRateLimiter(clock=clock)
    for number in range(6):
        pace.reserve(PRIVATE, f"result {number}")

    assert not pace.try_progress(PRIVATE)


def test_a_flooded_chat_waits_and_others_do_not():
    pace = TelegramRateLimiter(clock=Clock())
    pace.pause(GROUP, 30)

    assert pace.reserve(GROUP, "a") == pytest.approx(30)
    assert not pace.try_progress(GROUP)
    assert pace.reserve(GROUP - 1, "a") == 0


def test_who_waits_keeps_its_place_in_the_line():
    clock = Clock()
    pace = TelegramRateLimiter(clock=clock)
    waits = [pace.reserve(GROUP, f"job {number}") for number in range(60)]
    late = [number for number, wait_s in enumerate(waits) if wait_s > 0]
    assert len(late) >= 40
    for number in late:
        clock.now = 1000.0 + waits[number] + 0.01
        tries = 1
        while (wait_s := pace.reserve(GROUP, f"job {number}")) > 0:
            clock.now += wait_s
            tries += 1
        assert tries <= 3


def test_somebody_elses_waiting_results_are_not_all_ahead():
    clock = Clock()
    pace, floods = TelegramRateLimiter(clock=clock), FloodLimits(clock)
    began, tries, sent_at = clock.now, 0, {}
    due = [(clock.now, ("ann", number)) for number in range(100)] + [(clock.now + 0.1, ("bob", 0))]
    while due:
        clock.now, (owner, number) = heapq.heappop(due)
        tries += 1
        wait_s = pace.reserve(GROUP, f"{owner} {number}", owner=owner)
        if wait_s > 0:
            heapq.heappush(due, (clock.now + wait_s, (owner, number)))
        else:
            assert floods.check(GROUP, "sendMessage") == 0
            sent_at[owner, number] = clock.now - began

    assert sent_at["bob", 0] < 70  # a minute's messages were sent before
    assert 240 < max(sent_at.values()) < 400
    assert tries < 400


def test_a_first_answer_goes_before_results_when_all_is_busy():
    clock = Clock()
    pace = TelegramRateLimiter(clock=clock)
    for chat in range(1, 100):
        pace.reserve(chat, "result")

    assert pace.reserve(1000, "result") > 0
    assert pace.reserve(1001, "placeholder", lane=Lane.PLACEHOLDER) == 0


def test_the_reply_to_a_short_command_does_not_wait_for_a_burst_of_placeholders():
    pace = TelegramRateLimiter(clock=Clock())
    waits_s = [pace.reserve(chat, "placeholder", lane=Lane.PLACEHOLDER) for chat in range(1, 250)]

    assert max(waits_s) > 8
    assert pace.reserve(1000, "reply", lane=Lane.REPLY) == 0


def test_chats_that_fell_silent_are_forgotten():
    clock = Clock()
    pace = TelegramRateLimiter(clock=clock)
    for chat in range(1, 1000):
        pace.reserve(chat, "a")
        clock.now += 2

    assert len(pace._queues) < 700


def test_our_own_rates_stay_below_those_of_telegram():
    rates = RateLimits()

    assert rates.group.limit < 20
    assert rates.group.span_s > 60
    assert rates.overall.limit / rates.overall.span_s < 30
    assert rates.chat.limit / rates.chat.span_s < 1


# ---------------------------------------------------------------- the rules themselves


@pytest.mark.parametrize(
    ("method", "params", "files", "problem"),
    [
        ("sendMessage", {"chat_id": "1"}, (), ""),
        ("sendMessage", {"text": "x"}, (), "chat_id is missing"),
        ("sendMessage", {"chat_id": "1", "text": "x", "colour": "red"}, (), "colour is unknown"),
        ("sendMessage", {"chat_id": "1", "text": FOX * 2049}, (), "4098 units"),
        ("sendMessage", {"chat_id": "1", "text": "x", "parse_mode": "HTML"}, (), "parse_mode"),
        ("sendMessage", {"chat_id": "1", "text": "x", "reply_parameters": '{"message_id": "7"}'}, (), "no integer"),
        ("sendMessage", {"chat_id": "1", "text": "x", "reply_markup": KEYBOARD.replace("text", "txt")}, (), "txt"),
        ("sendMessage", {"chat_id": "1", "text": "x", "reply_markup": KEYBOARD}, (), "65 bytes"),
        ("sendPhoto", {"chat_id": "1", "caption": "x" * 1025}, ("photo",), "1025 units"),
        ("sendPhoto", {"chat_id": "1"}, ("photo", "other"), "nobody names"),
        ("sendMediaGroup", {"chat_id": "1", "media": '[{"type": "photo", "media": "x"}]'}, (), "2 to 10"),
        ("sendMediaGroup", {"chat_id": "1", "media": "[]", "reply_markup": "{}"}, (), "reply_markup is unknown"),
        ("editMessageMedia", {"media": '{"type": "photo", "media": "attach://a"}'}, (), "named and not sent"),
        ("answerCallbackQuery", {"callback_query_id": "1", "text": "x" * 201}, (), "201 units"),
        ("inventedMethod", {}, (), "not in rules.json"),
    ],
)  # fmt: skip
def test_the_rules_find_what_is_wrong(method, params, files, problem):
    found = problems_of(method, params, files)

    assert any(problem in one for one in found) if problem else found in ([], ["sendMessage: text is missing"])


# ---------------------------------------------------------------- through the whole application


@pytest.mark.asyncio(loop_scope="module")
async def test_a_caption_and_an_answer_too_long_are_cut_between_emoji(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann, FOX * 900)
    app.state.send_message(chat, ann, "long answer?", reply_to=made)
    answer = await app.message_with(chat, FOX, 2)

    assert utf16_length(made["caption"]) <= 1024
    assert 4000 < utf16_length(text_of(answer)) <= 4096


@pytest.mark.asyncio(loop_scope="module")
async def test_a_picture_beyond_ten_megabytes_is_made_to_fit_and_the_original_is_still_there(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann, "large")
    app.state.press(made, app.state.button(made, "original"), ann)
    sent = await app.bot_message(chat, 2)

    assert "Shrunk" in made["caption"]
    assert len(made["original"]) <= 10 * 2**20
    assert len(sent["original"]) > 10 * 2**20
    assert sent["original"].startswith(b"\x89PNG")


@pytest.mark.asyncio(loop_scope="module")
async def test_markup_in_a_prompt_is_shown_as_it_was_written(app, chat, ann):
    words = "<b>a *fox* _in [the](http://snow) `&amp; </i"
    made = await app.imagine_and_wait(chat, ann, words)

    assert words in made["caption"]


@pytest.mark.asyncio(loop_scope="module")
async def test_everything_gets_its_turn_in_a_chat_that_takes_one_message_at_a_time(tmp_path, server):
    rates = RateLimits(chat=RateLimit(1, 0.4), overall=RATES.overall)
    async with build_app(tmp_path, server, rates=rates) as app:
        ann = app.state.person("Ann")
        chat = app.state.private(ann)
        await app.open()
        made = await app.imagine_and_wait(chat, ann)
        app.state.send_message(chat, ann, "/show")
        await app.finished_picture(chat, 2)
        app.state.press(made, app.state.button(made, "original"), ann)

        assert "document" in await app.bot_message(chat, 3)
