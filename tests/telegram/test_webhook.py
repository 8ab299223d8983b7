"""Updates that are posted to us: who may, what is taken, and that nothing is lost."""

import contextlib
import socket
from io import BytesIO

import aiohttp
import pytest

from adapters.telegram.adapter import SECRET
from bot.errors import StartupError, StorageBusy

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEADER = "X-Telegram-Bot-Api-Secret-Token"
OURS = "a-secret-of-our-own-1234"


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def url():
    return f"http://127.0.0.1:{free_port()}/telegram"


async def open_webhook(town, url, secret=OURS):
    town.secrets[SECRET] = secret
    await town.open(mode="webhook", webhook_url=url, webhook_port=int(url.split(":")[2].split("/")[0]))
    await town.until(lambda: town.server.methods.webhook or town.serving.done())
    if town.serving.done():
        town.serving.result()


async def post(url, body, secret=OURS, **more):
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers={HEADER: secret, "Content-Type": "application/json"}, **more) as answer,
    ):
        return answer.status


async def test_a_posted_update_is_answered(own_town, url):
    ann = own_town.world.person("Ann")
    chat = own_town.world.private(ann)
    await open_webhook(own_town, url)
    own_town.world.say(chat, ann, "/imagine a fox")

    await own_town.picture(chat)
    asked = own_town.server.methods.webhook
    assert asked["allowed_updates"] == ["message", "callback_query"]
    assert asked["secret"] == OURS
    assert own_town.server.called("getUpdates") == []


async def test_a_secret_is_drawn_when_none_is_set(own_town, url):
    ann = own_town.world.person("Ann")
    chat = own_town.world.private(ann)
    await open_webhook(own_town, url, secret="")
    own_town.world.say(chat, ann, "/imagine a fox")

    await own_town.picture(chat)
    assert len(own_town.server.methods.webhook["secret"]) >= 32


async def test_strangers_and_nonsense_are_turned_away(own_town, url):
    await open_webhook(own_town, url)
    body = b'{"update_id": 1, "message": {"chat": {"type": "private"}}}'

    assert await post(url, body, secret="wrong") == 403
    assert await post(url, body, secret="") == 403
    assert await post(url, b"not json") == 400
    assert await post(url, b"[" * 100_000) == 400
    assert await post(url, b'{"update_id": "1"}') == 400
    assert await post(url, BytesIO(b"x" * (2**20 + 1))) == 413
    assert await post(url + "/else", body) == 404
    assert await own_town.storage.inbox.waiting("telegram") == []


async def test_an_update_that_could_not_be_kept_comes_again(own_town, url, monkeypatch):
    ann = own_town.world.person("Ann")
    chat = own_town.world.private(ann)
    await open_webhook(own_town, url)
    keep = type(own_town.storage.inbox).keep
    refusals: list[int] = []

    async def busy(self, *arguments):
        if len(refusals) < 2:
            refusals.append(1)
            raise StorageBusy
        return await keep(self, *arguments)

    monkeypatch.setattr(type(own_town.storage.inbox), "keep", busy)
    own_town.world.say(chat, ann, "/imagine a fox")

    await own_town.picture(chat)
    assert len(refusals) == 2


async def test_an_update_posted_twice_is_answered_once(own_town, url):
    ann = own_town.world.person("Ann")
    chat = own_town.world.private(ann)
    await open_webhook(own_town, url)
    own_town.world.say(chat, ann, "/imagine a fox")
    again = dict(own_town.world.updates[0])
    await own_town.picture(chat)
    own_town.world.updates.append(again)
    await own_town.quiet()

    assert len(own_town.world.shown(chat)) == 1


async def test_telegram_may_be_away_when_the_webhook_is_set(own_town, url):
    own_town.server.fail(method="setWebhook", status=502, times=2)
    ann = own_town.world.person("Ann")
    chat = own_town.world.private(ann)
    await open_webhook(own_town, url)
    own_town.world.say(chat, ann, "/imagine a fox")

    await own_town.picture(chat)


async def test_a_webhook_without_an_address_is_refused_with_what_to_set(own_town):
    with pytest.raises(StartupError, match="WEBHOOK_URL"):
        await own_town.open(mode="webhook")


async def test_a_port_that_is_taken_is_said(own_town, url):
    taken = socket.socket()
    taken.bind(("127.0.0.1", int(url.split(":")[2].split("/")[0])))
    taken.listen()
    with contextlib.closing(taken), pytest.raises(StartupError, match="WEBHOOK_PORT"):
        await open_webhook(own_town, url)
