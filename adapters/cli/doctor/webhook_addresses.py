"""Checks the webhooks of the config without calling them: their hosts, and whether events may go there."""

import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from adapters.cli.doctor.check import BAD, OK, WARN, Check
from adapters.webhooks.addresses import is_allowed, is_public
from adapters.webhooks.settings import WebhookSettings, host_of, webhooks_of

if TYPE_CHECKING:
    from adapters.cli.ports import LoadedConfig

ABOUT = "webhooks"
_PORTS = {"https": 443, "http": 80}


def check_webhooks(loaded: "LoadedConfig") -> Iterator[Check]:
    for name, webhook in webhooks_of(loaded.settings).items():
        yield _check_address(name, webhook)


def _check_address(name: str, webhook: WebhookSettings) -> Check:
    parts, shown = urlsplit(webhook.url), host_of(webhook.url)
    host = parts.hostname or ""
    try:
        found = socket.getaddrinfo(host, parts.port or _PORTS[parts.scheme], type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Check(ABOUT, WARN, f"The host of the webhook {name}, {shown}, is unknown now: its events wait.")
    addresses = [ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    allowed = [one for one in addresses if is_allowed(one, host, allow_private=webhook.allow_private)]
    if not allowed:
        sentence = (
            f"The webhook {name} is refused: {shown} has no public address. If it belongs to your network, set "
            f"allow_private = true in [webhooks.{name}]."
        )
        return Check(ABOUT, BAD, sentence)
    if parts.scheme == "http" and any(is_public(one) for one in allowed):
        sentence = f"The webhook {name} sends prompts to {shown} without encryption: use an https address."
        return Check(ABOUT, WARN, sentence)
    how = "signed and encrypted" if parts.scheme == "https" else "signed"
    return Check(ABOUT, OK, f"The webhook {name} sends to {shown}, {how}.")
