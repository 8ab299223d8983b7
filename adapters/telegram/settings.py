"""The settings of the Telegram adapter, apart from it so that reading a config imports no chat library."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

PLATFORM = "telegram"


@dataclass(frozen=True, kw_only=True)
class TelegramSettings:
    """`[telegram]` in the config. The token is never here: it is the secret TELEGRAM_BOT_TOKEN."""

    secret: ClassVar[str] = "TELEGRAM_BOT_TOKEN"
    bounds: ClassVar[Mapping[str, tuple[int, int]]] = {"webhook_port": (0, 65535)}

    enabled: Literal["auto"] | bool = "auto"
    """"auto": when a token is set."""
    api_base: str = ""
    """Another Bot API server, such as "http://127.0.0.1:8081/bot"; empty: Telegram's own."""
    file_base: str = ""
    """The address of that server's files, such as "http://127.0.0.1:8081/file/bot"."""
    mode: Literal["polling", "webhook"] = "polling"
    """How updates arrive: polled, or posted to `webhook_url`."""
    webhook_url: str = ""
    """The public https address that Telegram posts updates to."""
    webhook_listen: str = "127.0.0.1"
    """Address to listen on, usually behind a proxy that terminates TLS."""
    webhook_port: int = 8443
    """Port to listen on."""
    admins: tuple[str, ...] = ()
    """Account ids of this bot's admins."""
