"""What Telegram's answers mean: its own words count, a status alone says nothing."""

import json
from unittest.mock import AsyncMock

import pytest
from telegram.error import EndPointNotFound, InvalidToken

from adapters.telegram import error_descriptions as descriptions
from adapters.telegram.bot_client import REFUSED_RETRY_S, CheckedRequest, PollingConflict, translate_errors
from adapters.telegram.file_request import FileRequest
from adapters.telegram.polling import CONFLICT, WEBHOOK_SET, sentence_about
from bot.ports.platform_answers import (
    PAGE_PATIENCE,
    UNKNOWN_PATIENCE,
    MessageGone,
    NotPermitted,
    PlatformError,
    ReplyRejected,
    TokenRefused,
    UnclearAnswer,
    Undeliverable,
)

PAGE = "<html><title>Access denied</title></html>"


@pytest.fixture
def answer_with(monkeypatch):
    """What becomes of one answer to a request."""
    monkeypatch.setenv("PTB_TIMEDELTA", "true")
    request = CheckedRequest()

    async def ask(status, body, method="POST", api_method="x"):
        data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        monkeypatch.setattr(FileRequest, "do_request", AsyncMock(return_value=(status, data)))
        with pytest.raises(PlatformError) as translated, translate_errors():
            await (
                request.post(f"https://api.telegram.org/bot7/{api_method}")
                if method == "POST"
                else request.retrieve("https://x")
            )
        return translated.value

    return ask


def refusal(code, description, **more):
    return {"ok": False, "error_code": code, "description": description, **more}


ROWS = [(meaning, phrase) for meaning, phrases in descriptions.PHRASES for phrase in phrases]


@pytest.mark.parametrize(("meaning", "phrase"), ROWS)
async def test_a_known_description_has_its_meaning_whatever_the_status(answer_with, meaning, phrase):
    assert type(await answer_with(403, refusal(403, f"Forbidden: {phrase.upper()}"))) is meaning
    assert descriptions.meaning_of(f"Bad Request: {phrase}") is meaning


@pytest.mark.parametrize(
    ("description", "meaning"),
    [
        ("Forbidden: bot was blocked by the user", NotPermitted),
        ("Forbidden: bot was kicked from the supergroup chat", NotPermitted),
        ("Forbidden: bot can't initiate conversation with a user", NotPermitted),
        ("Bad Request: not enough rights to send photos to the chat", NotPermitted),
        ("Bad Request: CHAT_SEND_PHOTOS_FORBIDDEN", NotPermitted),
        ("Bad Request: TOPIC_CLOSED", NotPermitted),
        ("Forbidden: user is deactivated", Undeliverable),
        ("Bad Request: chat not found", Undeliverable),
        ("Bad Request: group chat was deactivated", Undeliverable),
        ("Bad Request: message to edit not found", MessageGone),
        ("Bad Request: message can't be edited", MessageGone),
        ("Bad Request: message thread not found", descriptions.TopicDeleted),
        ("Bad Request: message to be replied not found", ReplyRejected),
        ("Bad Request: PHOTO_INVALID_DIMENSIONS", descriptions.PhotoRejected),
        ("Bad Request: query is too old and response timeout expired", descriptions.QueryExpired),
        ("Bad Request: wrong file_id or the file is temporarily unavailable", descriptions.FileUnavailable),
        ("Bad Request: file is too big", descriptions.FileTooBig),
        ("Bad Request: message can't be deleted for everyone", descriptions.NotDeletable),
        ("Bad Request: SOMETHING_NEW", None),
    ],
)
def test_the_sentences_of_telegram_itself(description, meaning):
    assert descriptions.meaning_of(description) is meaning


@pytest.mark.parametrize("code", [400, 403])
async def test_an_unknown_description_is_unclear_and_tried_a_few_times(answer_with, code):
    error = await answer_with(code, refusal(code, "Forbidden: SOMETHING_NEW"))

    assert type(error) is UnclearAnswer
    assert error.patience == UNKNOWN_PATIENCE


@pytest.mark.parametrize(
    "body",
    [PAGE, "", "null", "[]", {}, {"ok": True}, {"error": "blocked"}, {"ok": False, "description": 7}, "[" * 9000],
    ids=lambda body: str(body)[:20],
)
async def test_what_is_not_in_telegrams_words_is_unclear_and_gives_nothing_up(answer_with, body):
    for status in (200, 302, 400, 401, 403, 404, 409):
        error = await answer_with(status, body)

        assert type(error) is UnclearAnswer
        assert error.patience == PAGE_PATIENCE


@pytest.mark.parametrize("body", [PAGE, "", refusal(502, "Bad Gateway")])
async def test_a_server_error_is_an_outage(answer_with, body):
    assert type(await answer_with(502, body)) is PlatformError


@pytest.mark.parametrize("code", [401, 404])
async def test_a_refused_token_waits_calmly(answer_with, code):
    error = await answer_with(code, refusal(code, "Unauthorized"))

    assert type(error) is TokenRefused
    assert error.retry_after_s == REFUSED_RETRY_S >= 60


async def test_a_token_that_is_refused_while_polling_is_no_missing_method():
    with pytest.raises(TokenRefused), translate_errors():
        raise EndPointNotFound("Endpoint 'getUpdates' not found in Bot API") from InvalidToken("Unauthorized")


@pytest.mark.parametrize(
    ("description", "sentence"),
    [
        ("Conflict: terminated by other getUpdates request", CONFLICT),
        ("Conflict: can't use getUpdates method while webhook is active", WEBHOOK_SET),
    ],
)
async def test_a_second_receiver_is_telegrams_own_word(answer_with, description, sentence):
    error = await answer_with(409, refusal(409, description))

    assert type(error) is PollingConflict
    assert sentence_about(error) == sentence


@pytest.mark.parametrize(
    ("asked", "wait_s"),
    [
        (7, 7), ("7", 7), (2.5, 2.5), (0, 0.5), (-5, 0.5), (10**9, 3600), (10**400, 60), ("soon", 60), ([1], 60),
        (None, 60), (float("nan"), 60), (float("inf"), 3600),
    ],
)  # fmt: skip
async def test_a_rate_limit_is_waited_for_within_reason(answer_with, asked, wait_s):
    error = await answer_with(429, refusal(429, "Too Many Requests", parameters={"retry_after": asked}))

    assert (type(error), error.retry_after_s) == (PlatformError, wait_s)


async def test_a_rate_limit_is_waited_for_even_if_a_proxy_says_so(answer_with):
    assert (await answer_with(429, PAGE)).retry_after_s == 60


@pytest.mark.parametrize("body", [PAGE * 100, refusal(413, "Request Entity Too Large")])
async def test_too_large_is_too_large_for_a_proxy_too(answer_with, body, caplog):
    error = await answer_with(413, body)

    assert type(error) is descriptions.FileTooBig
    assert not caplog.records  # the library would log the page with a traceback


@pytest.mark.parametrize("result", [{}, None, True, "sent", [], {"message_id": "7"}])
async def test_a_message_that_the_answer_does_not_name_counts_as_unconfirmed(answer_with, result):
    for method in ("sendMessage", "sendPhoto", "sendMediaGroup"):
        assert type(await answer_with(200, {"ok": True, "result": result}, api_method=method)) is UnclearAnswer
    if result is not True:
        assert (
            type(await answer_with(200, {"ok": True, "result": result}, api_method="editMessageText")) is UnclearAnswer
        )


@pytest.mark.parametrize("chat", ["abc", 10**40, None, [], 0])
async def test_a_chat_that_moves_to_no_chat_is_unclear(answer_with, chat):
    moved = refusal(400, "group chat was upgraded", parameters={"migrate_to_chat_id": chat})

    assert type(await answer_with(400, moved)) is UnclearAnswer


async def test_a_method_that_a_server_does_not_have_says_nothing_about_the_token(answer_with):
    assert type(await answer_with(404, refusal(404, "Not Found: method not found"))) is UnclearAnswer


async def test_a_long_description_is_kept_short(answer_with):
    assert len((await answer_with(400, refusal(400, "NEW " * 5000))).detail) <= 200


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (404, refusal(404, "Not Found"), descriptions.FileUnavailable),
        (404, PAGE, UnclearAnswer),
        (200, f"\n  <!DOCTYPE html>{PAGE}", UnclearAnswer),
        (403, PAGE, UnclearAnswer),
        (401, refusal(401, "Unauthorized"), TokenRefused),
    ],
)
async def test_a_file_that_does_not_come_says_nothing_about_the_token(answer_with, status, body, meaning):
    assert type(await answer_with(status, body, "GET")) is meaning
