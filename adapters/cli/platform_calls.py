"""Calls to the chat platforms' own APIs, to check a bot token."""

from typing import Any

DISCORD = "https://discord.com/api/v10"
TELEGRAM = "https://api.telegram.org/bot"
_TIMEOUT_S = 10.0


def fetch_json(url: str, headers: dict[str, str]) -> tuple[int, Any]:
    """HTTP status and JSON body; status 0 without a response. The URL may contain a token and is never shown."""
    import httpx

    try:
        with httpx.Client(timeout=_TIMEOUT_S) as client:
            response = client.get(url, headers=headers)
            return response.status_code, response.json()
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
        return 0, None
    except ValueError:
        return response.status_code, None


def is_token_refused(status: int, body: Any) -> bool:
    """Whether the platform itself refused the token: the page of a proxy or firewall says nothing about it."""
    if not isinstance(body, dict):
        return False
    if status == 401 and str(body.get("message", "")).startswith("401: "):
        return True
    return status in (401, 404) and body.get("ok") is False and body.get("error_code") == status
