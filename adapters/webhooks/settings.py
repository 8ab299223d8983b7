"""`[webhooks.NAME]` in the config: where events may be sent, in a module that imports no HTTP library."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import SplitResult, urlsplit

from bot.errors import ConfigError
from bot.settings.core import Bounds

SECTION = "webhooks"
MIN_SECRET = 16
"""Characters of a secret."""
MAX_NAME = 64
"""Characters of a webhook's name; requests cannot name a longer one."""
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class WebhookSettings:
    """`[webhooks.NAME]` in the config."""

    bounds: ClassVar[Bounds] = {}

    url: str
    """Where events are posted, https or http."""
    secret: str = field(default="", repr=False)
    """Signs the events; also EASEL_WEBHOOKS__NAME__SECRET, in the environment or in `secrets.env`."""
    secret_file: str = field(default="", repr=False)
    """A file with the secret; also EASEL_WEBHOOKS__NAME__SECRET_FILE."""
    allow_private: bool = False
    """Its host may have private addresses. An address that is in `url` itself needs no permission."""


def secret_variable(name: str) -> str:
    return f"EASEL_WEBHOOKS__{name.replace('-', '_').upper()}__SECRET"


def complete_webhooks(
    webhooks: Mapping[str, WebhookSettings], stored: Mapping[str, str]
) -> Mapping[str, WebhookSettings]:
    """Each with its secret, from the setting, its file, or `stored`: variables in `secrets.env`.

    Raises: ConfigError, which never quotes a secret.
    """
    problems: list[str] = []
    completed = {
        name: replace(one, secret=_find_secret(name, one, stored, problems), secret_file="")
        for name, one in webhooks.items()
    }
    for name, one in completed.items():
        problems += _problems_of(name, one)
    if problems:
        raise ConfigError(problems)
    return completed


def _find_secret(name: str, one: WebhookSettings, stored: Mapping[str, str], problems: list[str]) -> str:
    if one.secret.strip():
        return one.secret.strip()
    if one.secret_file:
        try:
            return Path(one.secret_file).read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            problems.append(f"webhooks.{name}.secret_file names {one.secret_file}, which cannot be read: {why}.")
            return "?" * MIN_SECRET  # one problem is enough
    return stored.get(secret_variable(name), "")


def _problems_of(name: str, one: WebhookSettings) -> Iterator[str]:
    if len(name) > MAX_NAME:
        yield f"The name webhooks.{name[:MAX_NAME]}... is too long: it may have {MAX_NAME} characters."
    if problem := url_problem(one.url):
        yield f"webhooks.{name}.url {problem}."
    if not one.secret:
        yield (
            f"webhooks.{name} has no secret: set {secret_variable(name)} in the environment or in secrets.env, "
            f"or secret in [webhooks.{name}]."
        )
    elif len(one.secret) < MIN_SECRET:
        yield f"The secret of webhooks.{name} is too short: it needs at least {MIN_SECRET} characters."


def url_problem(url: str) -> str:
    """What is wrong with the address, without quoting it: it can hold a secret. Empty: nothing."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is not an address: write it like https://studio.example/easel"
    if parts.scheme not in ("http", "https") or not host:
        return "must begin with https:// or http:// and name a host"
    if parts.username is not None or parts.password is not None:
        return "must not contain a user name or password: the events are signed instead"
    if parts.fragment or not url.isascii() or any(char.isspace() for char in url):
        return "must be one address without spaces, a # part or other scripts"
    if port == 0 or not _is_host(host):
        return "has a host or port that cannot be called: write it like https://studio.example/ or http://192.168.1.5:9000/"
    return ""


def _is_host(host: str) -> bool:
    """A name or an address in its usual form: `127.1` and `0x7f.1` mean addresses too, and are never sent to."""
    if _NAME.fullmatch(host) and not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return len(host) < 255 and all(len(label) < 64 for label in host.split("."))
    try:
        return "%" not in host and bool(ip_address(host))
    except ValueError:
        return False


def host_of(url: str) -> str:
    """The host with the port, for people and logs: paths may be secret."""
    parts: SplitResult = urlsplit(url)
    return parts.netloc


def webhooks_of(settings: Mapping[str, Any]) -> Mapping[str, WebhookSettings]:
    found: Mapping[str, WebhookSettings] = settings.get(SECTION, {})
    return found
