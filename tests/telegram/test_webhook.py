"""Updates that are posted to us: who may, what is taken, and that nothing is lost."""

import asyncio
import contextlib
import logging
import random
import socket
from io import BytesIO

import aiohttp
import pytest

from adapters.telegram.adapter import WEBHOOK_SECRET_VARIABLE
from bot.errors import StartupError, StorageBusy

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEADER = "X-Telegram-Bot-Api-Secret-Token"
OURS = "a-secret-of-our-own-1234"
MALFORMED = [
    b"", b"\xff\xfe", b"null", b"[]", b"{", b'{"update_id": "1"}', b'{"update_id": true}', b'{"update_id": -1}',
    b'{"update_id": 1e3}', b'{"update_id": 1' + b"0" * 30 + b"}", b'{"update_id": 1' + b"0" * 5000 + b"}",
    b'{"update_id": 1, "message": {"date": NaN}}',
]  # fmt: skip
UNREADABLE = [
    b'{"update_id": 1, "message": "text"}',
    b'{"update_id": 1, "message": {"chat": null}}', b'{"update_id": 1, "message": {"chat": "private"}}',
    b'{"update_id": 1, "message": {"reply_to_message": "1"}}',
    b'{"update_id": 1, "message": {"reply_to_message": {"from": 1}}}', b'{"update_id": 1, "callback_query": []}',
]  # fmt: skip


def free_port():
    """Below those that the system gives to programs that ask for any, which another one could get meanwhile."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@pytest.fixture
def url():
    return f"http://127.0.0.1:{free_port()}/telegram"


async def open_webhook(app, url, secret=OURS):
    app.secrets[WEBHOOK_SECRET_VARIABLE] = secret
    await app.open(mode="webhook", webhook_url=url, webhook_port=int(url.split(":")[2].split("/")[0]))
    await app.until(lambda: app.server.methods.webhook or app.serving.done())
    if app.serving.done():
        app.serving.result()


async def post(url, body, secret=OURS, **more):
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers={HEADER: secret, "Content-Type": "application/json"}, **more) as answer,
    ):
        return answer.status


async def test_a_posted_update_is_answered(own_app, url):
    ann = own_app.state.person("Ann")
    chat = own_app.state.private(ann)
    await open_webhook(own_app, url)
    own_app.state.send_message(chat, ann, "/imagine a fox")

    await own_app.finished_picture(chat)
    asked = own_app.server.methods.webhook
    assert asked["allowed_updates"] == ["message", "callback_query", "my_chat_member"]
    assert asked["secret"] == OURS
    assert own_app.server.called("getUpdates") == []


async def test_a_secret_is_drawn_when_none_is_set(own_app, url):
    ann = own_app.state.person("Ann")
    chat = own_app.state.private(ann)
    await open_webhook(own_app, url, secret="")
    own_app.state.send_message(chat, ann, "/imagine a fox")

    await own_app.finished_picture(chat)
    assert len(own_app.server.methods.webhook["secret"]) >= 32


async def test_strangers_and_nonsense_are_turned_away(own_app, url):
    await open_webhook(own_app, url)
    body = b'{"update_id": 1, "message": {"chat": {"type": "private"}}}'

    assert await post(url, body, secret="wrong") == 403
    assert await post(url, body, secret="") == 403
    assert await post(url, b"not json") == 400
    assert await post(url, b"[" * 100_000) == 400
    for malformed in MALFORMED:
        assert await post(url, malformed) == 400, malformed
    for unreadable in UNREADABLE:  # Telegram would post it again and again
        assert await post(url, unreadable) == 200, unreadable
    assert await post(url, BytesIO(b"x" * (2**20 + 1))) == 413
    assert await post(url + "/else", body) == 404
    assert await own_app.storage.inbox.pending_events("telegram") == []


async def test_a_body_that_is_aborted_or_malformed_leaves_no_traceback(own_app, url, caplog):
    await open_webhook(own_app, url)
    head = f"POST /telegram HTTP/1.1\r\nHost: x\r\n{HEADER}: {OURS}\r\n"
    chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{"
    for sent in (f"{head}Content-Length: 9\r\n\r\n{{", chunked, f"{chunked}    \r\nzz\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        writer.write(sent.encode())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(), 0.1)
        writer.close()
    assert await post(url, b"not json") == 400

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_an_update_that_could_not_be_kept_comes_again(own_app, url, monkeypatch):
    ann = own_app.state.person("Ann")
    chat = own_app.state.private(ann)
    await open_webhook(own_app, url)
    save_event = type(own_app.storage.inbox).save_event
    refusals: list[int] = []

    async def busy(self, *arguments):
        if len(refusals) < 2:
            refusals.append(1)
            raise StorageBusy
        return await save_event(self, *arguments)

    monkeypatch.setattr(type(own_app.storage.inbox), "save_event", busy)
    own_app.state.send_message(chat, ann, "/imagine a fox")

    await own_app.finished_picture(chat)
    assert len(refusals) == 2


async def test_an_update_posted_twice_is_answered_once(own_app, url):
    ann = own_app.state.person("Ann")
    chat = own_app.state.private(ann)
    await open_webhook(own_app, url)
    own_app.state.send_message(chat, ann, "/imagine a fox")
    again = dict(own_app.state.updates[0])
    await own_app.finished_picture(chat)
    own_app.state.updates.append(again)
    await own_app.wait_until_idle()

    assert len(own_app.state.bot_messages(chat)) == 1


async def test_telegram_may_be_away_when_the_webhook_is_set(own_app, url):
    own_app.server.fail(method="setWebhook", status=502, times=2)
    ann = own_app.state.person("Ann")
    chat = own_app.state.private(ann)
    await open_webhook(own_app, url)
    own_app.state.send_message(chat, ann, "/imagine a fox")

    await own_app.finished_picture(chat)


async def test_a_webhook_without_an_address_is_refused_with_what_to_set(own_app):
    with pytest.raises(StartupError, match="WEBHOOK_URL"):
        await own_app.open(mode="webhook")


async def test_a_port_that_is_taken_is_said(own_app, url):
    taken = socket.socket()
    taken.bind(("127.0.0.1", int(url.split(":")[2].split("/")[0])))
    taken.listen()
    with contextlib.closing(taken), pytest.raises(StartupError, match="WEBHOOK_PORT"):
        await open_webhook(own_app, url)
