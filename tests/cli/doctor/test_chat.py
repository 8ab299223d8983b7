"""The chat platform checks of `doctor`, against a server on this machine."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from adapters.cli.doctor.chat import check_chat_platforms
from adapters.cli.doctor.check import BAD, OK, WARN
from adapters.discord.settings import DiscordSettings
from adapters.telegram.settings import TelegramSettings

TOKENS = ("a-discord-token", "12345:a-telegram-token")


class Platform(BaseHTTPRequestHandler):
    """Accepts only the tokens above; 502 for the token "away", a firewall's page for "blocked"."""

    def do_GET(self) -> None:
        request = f"{self.path} {self.headers.get('Authorization', '')}"
        status = 502 if "away" in request else 200 if any(token in request for token in TOKENS) else 401
        answer: dict[str, object] = {"username": "easel_bot", "result": {"username": "easel_bot"}}
        if status == 401:
            answer = {"ok": False, "error_code": 401} if "/bot" in request else {"message": "401: Unauthorized"}
        body = b"<html>Access denied</html>" if "blocked" in request else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Platform)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@dataclass
class Found:
    secrets: object
    settings: dict[str, object]


def found(url: str, discord: str = "", telegram: str = "", **more: object) -> Found:
    return Found(
        SimpleNamespace(discord_token=discord, telegram_token=telegram),
        {
            "discord": DiscordSettings(api_base=f"{url}/api/v10", **more),  # type: ignore[arg-type]
            "telegram": TelegramSettings(api_base=f"{url}/bot"),
        },
    )


def marks(url: str, *tokens: str) -> list[str]:
    return [check.mark for check in check_chat_platforms(found(url, *tokens))]  # type: ignore[arg-type]


def test_accepted_tokens_are_reported_with_the_bots_name(url: str) -> None:
    checks = list(check_chat_platforms(found(url, *TOKENS)))  # type: ignore[arg-type]

    assert [check.mark for check in checks] == [OK, OK]
    assert all("easel_bot" in check.sentence for check in checks)


def test_a_rejected_token_is_bad_and_an_unreachable_platform_only_a_warning(url: str) -> None:
    assert marks(url, "wrong", "1:wrong") == [BAD, BAD]
    assert marks(url, "away", "1:away") == [WARN, WARN]
    assert marks("http://127.0.0.1:9", *TOKENS) == [WARN, WARN]
    assert marks(url, "blocked", "1:blocked") == [WARN, WARN]


def test_nothing_is_checked_without_a_token_or_when_disabled(url: str) -> None:
    assert marks(url) == []
    assert list(check_chat_platforms(found(url, TOKENS[0], enabled=False))) == []  # type: ignore[arg-type]


def test_no_token_is_shown(url: str) -> None:
    sentences = [
        check.sentence
        for tokens in (TOKENS, ("wrong", "1:wrong"))
        for check in check_chat_platforms(found(url, *tokens))  # type: ignore[arg-type]
    ]

    assert not [one for one in sentences if any(token in one for token in (*TOKENS, "1:wrong"))]
