"""The lock's file of a running server, changed by another program: a sentence that says what to do."""

import json

import pytest

from bot.runtime.lock import FILE_NAME
from tests.cli.app_fixture import serving


def change_secret(content):
    return json.dumps({**json.loads(content), "secret": "another"}).encode()


@pytest.fixture(autouse=True)
def short_wait(monkeypatch):
    monkeypatch.setattr("bot.runtime.lock.TRY_S", 0.05)
    monkeypatch.setattr("adapters.cli.client.open._POLL_INTERVAL_S", 0.01)


@pytest.mark.parametrize("change", [change_secret, lambda _: b"{", lambda _: b""], ids=["secret", "damaged", "empty"])
@pytest.mark.parametrize("line", [("keys", "list"), ("imagine", "a fox")], ids=["keys", "imagine"])
def test_a_command_says_that_the_server_has_to_be_restarted(call, data_dir, change, line):
    with serving(data_dir):
        content = (data_dir / FILE_NAME).read_bytes()
        (data_dir / FILE_NAME).write_bytes(change(content))
        result = call(*line)
        (data_dir / FILE_NAME).write_bytes(content)

    assert (result.code, result.out) == (1, "")
    assert f"{FILE_NAME} was changed by another program" in result.err
    assert "restart the server" in result.err


def test_the_doctor_says_so_too(call, data_dir):
    with serving(data_dir):
        content = (data_dir / FILE_NAME).read_bytes()
        (data_dir / FILE_NAME).write_bytes(b"{")
        result = call("doctor")
        (data_dir / FILE_NAME).write_bytes(content)

    assert f"{FILE_NAME} was changed by another program" in result.out
