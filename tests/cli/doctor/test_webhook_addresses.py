"""`doctor` says where events go, and what is refused, without calling anybody."""

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.cli.doctor.check import BAD, OK, WARN
from adapters.cli.doctor.webhook_addresses import check_webhooks
from adapters.webhooks.settings import WebhookSettings


def check(url, monkeypatch, *addresses, **more):
    def resolve(host, port, **_):
        if not addresses:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    webhook = WebhookSettings(url=url, secret="0123456789abcdef-quite-secret", **more)
    loaded: Any = SimpleNamespace(settings={"webhooks": {"studio": webhook}})
    [found] = check_webhooks(loaded)
    assert "quite-secret" not in found.sentence
    assert "hidden-path" not in found.sentence
    return found


def test_a_public_https_address_is_fine(monkeypatch):
    found = check("https://studio.example/hidden-path", monkeypatch, "8.8.8.8")

    assert (found.mark, found.sentence) == (OK, "The webhook studio sends to studio.example, signed and encrypted.")


def test_a_private_host_is_refused_with_what_to_set(monkeypatch):
    found = check("http://nas.lan/hidden-path", monkeypatch, "192.168.1.5")

    assert found.mark == BAD
    assert "allow_private = true in [webhooks.studio]" in found.sentence


@pytest.mark.parametrize(("url", "more"), [("http://nas.lan/", {"allow_private": True}), ("http://192.168.1.5/", {})])
def test_a_private_host_that_the_owner_names_is_fine(monkeypatch, url, more):
    assert check(url, monkeypatch, "192.168.1.5", **more).mark == OK


def test_prompts_in_the_clear_on_the_internet_are_a_warning(monkeypatch):
    assert check("http://studio.example/", monkeypatch, "8.8.8.8").mark == WARN


def test_an_unknown_host_is_a_warning(monkeypatch):
    assert check("https://studio.example/", monkeypatch).mark == WARN


def test_without_webhooks_nothing_is_said():
    loaded: Any = SimpleNamespace(settings={})

    assert list(check_webhooks(loaded)) == []
