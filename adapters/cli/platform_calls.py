"""Calls to the chat platforms' own APIs, to check a bot token."""

from typing import Any

DISCORD = "https://discord.com/api/v10"
TELEGRAM = "https://api.telegram.org/bot"
_ANSWER_S = 10.0


def get(url: str, headers: dict[str, str]) -> tuple[int, Any]:
    """Status and JSON; 0 when there was no answer. The URL may hold a token: it is never shown."""
    import httpx

    try:
        with httpx.Client(timeout=_ANSWER_S) as client:
            answer = client.get(url, headers=headers)
            return answer.status_code, answer.json()
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
        return 0, None
    except ValueError:
        return answer.status_code, None
