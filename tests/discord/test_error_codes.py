"""What Discord's answers mean: its own words count, a status alone says nothing."""

from types import SimpleNamespace
from typing import Any

import discord
import pytest

from adapters.discord import error_codes as codes
from adapters.discord.error_mapping import REFUSED_RETRY_S, translate_errors
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

PAGE = "<html><title>Access denied</title><body>Your organization blocked this page.</body></html>"


def meaning_of(status: int, body: Any, **headers: str) -> PlatformError:
    response: Any = SimpleNamespace(status=status, reason="", headers=headers)
    with pytest.raises(PlatformError) as translated, translate_errors():
        raise discord.HTTPException(response, body)
    return translated.value


@pytest.mark.parametrize(("code", "meaning"), codes.MEANINGS.items())
def test_a_known_code_has_its_meaning_whatever_the_status(code: int, meaning: type) -> None:
    for status in (400, 403, 404):
        assert type(meaning_of(status, {"code": code, "message": "in Discord's words"})) is meaning


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (10003, NotPermitted),
        (50001, NotPermitted),
        (50007, NotPermitted),
        (50013, NotPermitted),
        (160005, NotPermitted),
        (10062, codes.InteractionOver),
        (50027, codes.InteractionOver),
        (10008, MessageGone),
        (30046, codes.EditLimitReached),
        (50035, Undeliverable),
        (200000, Undeliverable),
        (130000, codes.TryLater),
        (50014, TokenRefused),
    ],
)
def test_the_codes_that_decide_what_happens_next(code: int, kind: type) -> None:
    assert issubclass(codes.MEANINGS[code], kind)


def test_only_what_discord_calls_invalid_is_final() -> None:
    final = {code for code, meaning in codes.MEANINGS.items() if issubclass(meaning, Undeliverable)}

    assert final == {10014, 30015, 50006, 50035, 50046, 50068, 50109, 200000, 240000}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, PAGE),
        (403, PAGE),
        (404, PAGE),
        (400, ""),
        (403, None),
        (403, {}),
        (403, {"error": "blocked"}),
        (403, {"code": "blocked", "message": "by policy"}),
        (404, ["not", "found"]),
        (401, {"message": "Login required", "code": 0}),
        (403, {"message": "internal network error", "code": 40333}),
        (404, {"message": "401: Unauthorized", "code": 0}),
        (403, {"code": 50001, "message": None}),
        (403, {"code": True, "message": "x"}),
    ],
)
def test_what_is_not_in_discords_words_is_unclear_and_gives_nothing_up(status: int, body: Any) -> None:
    error = meaning_of(status, body)

    assert type(error) is UnclearAnswer
    assert error.patience == PAGE_PATIENCE


@pytest.mark.parametrize(("status", "code"), [(400, 31337), (403, 50999), (404, 10999)])
def test_an_unknown_code_is_unclear_and_tried_a_few_times(status: int, code: int) -> None:
    error = meaning_of(status, {"code": code, "message": "new in this version"})

    assert type(error) is UnclearAnswer
    assert error.patience == UNKNOWN_PATIENCE


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize("body", [PAGE, "", {"code": 0, "message": "500: Internal Server Error"}])
def test_a_server_error_is_an_outage(status: int, body: Any) -> None:
    assert type(meaning_of(status, body)) is PlatformError


def test_a_refused_token_waits_calmly() -> None:
    error = meaning_of(401, {"message": "401: Unauthorized", "code": 0})

    assert type(error) is TokenRefused
    assert error.retry_after_s == REFUSED_RETRY_S >= 60


@pytest.mark.parametrize(
    ("asked", "wait_s"),
    [(None, 60), ("7", 7), ("soon", 60), ("0", 0.5), ("-5", 0.5), ("1e9", 3600), ("inf", 3600), ("nan", 60)],
)
def test_a_rate_limit_is_waited_for_within_reason_even_if_a_proxy_says_so(asked: str | None, wait_s: float) -> None:
    headers = {} if asked is None else {"Retry-After": asked}

    assert meaning_of(429, PAGE, **headers).retry_after_s == wait_s


@pytest.mark.parametrize("asked_s", [1e9, float("inf")])
def test_no_rate_limit_of_the_library_lasts_for_years(asked_s: float) -> None:
    with pytest.raises(PlatformError) as translated, translate_errors():
        raise discord.RateLimited(asked_s)

    assert translated.value.retry_after_s == 3600


@pytest.mark.parametrize("status", [413])
@pytest.mark.parametrize("body", [PAGE, {"code": 40005, "message": "Request entity too large"}])
def test_too_large_is_too_large_for_a_proxy_too(status: int, body: Any) -> None:
    assert type(meaning_of(status, body)) is codes.FileTooLarge


def test_a_rejected_reference_is_not_rejected_content() -> None:
    errors = {"message_reference": {"_errors": [{"code": "MESSAGE_REFERENCE_UNKNOWN_MESSAGE", "message": "Unknown"}]}}

    assert type(meaning_of(400, {"code": 50035, "message": "Invalid Form Body", "errors": errors})) is (ReplyRejected)


@pytest.mark.parametrize("error", [KeyError("retry_after"), TypeError("str"), ValueError("x"), RecursionError()])
def test_an_answer_of_another_shape_is_unclear(error: Exception) -> None:
    with pytest.raises(UnclearAnswer) as translated, translate_errors():
        raise error

    assert translated.value.patience == PAGE_PATIENCE
