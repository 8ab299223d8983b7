"""What a receiver gets, and what its answers mean."""

import hashlib
import hmac
import json
import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from adapters.web.views import job_json
from adapters.webhooks import addresses
from adapters.webhooks import sender as sending
from adapters.webhooks.sender import HttpWebhookSender
from adapters.webhooks.settings import WebhookSettings
from bot.errors import JobNotFound
from bot.jobs import JobState
from bot.ports import Delivery
from bot.ports.platform_answers import PlatformError, Undeliverable
from bot.runtime.logs import QUIET_LOGGERS
from bot.usecases import Ticket
from tests.fakes import make_job, make_result
from tests.webhooks.receiver import answer, receiving

SECRET = "0123456789abcdef-quite-secret"


def make_sender(url, job=None, **more):
    async def read_ticket(job_id):
        if job is None:
            raise JobNotFound(job_id)
        return Ticket(job=job)

    settings = WebhookSettings(url=url, secret=SECRET, **more)
    return HttpWebhookSender(webhooks={"studio": settings}, read_ticket=read_ticket, to_body=job_json, version="9.9")


def make_delivery(job, tries=0):
    return Delivery(id=7, job=job, kind="webhook", tries=tries, message_ref=None, target="studio")


@pytest.fixture
def done():
    return make_job(state=JobState.DELIVERED, result=make_result(text="Ein F\u00fcchslein \U0001f98a"))


async def send(receiver, job, tries=0):
    await make_sender(receiver.url, job).send_event(make_delivery(job, tries))


async def test_the_body_is_signed_with_the_timestamp(done):
    async with receiving() as receiver:
        await send(receiver, done)

    [got] = receiver.received
    signed = f"{got.headers['x-easel-timestamp']}.".encode() + got.body
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert got.headers["x-easel-signature"] == f"sha256={expected}"
    assert abs(int(got.headers["x-easel-timestamp"]) - datetime.now(UTC).timestamp()) < 60
    assert (got.method, got.path) == ("POST", "/hook?key=secret-path")
    assert got.headers["content-type"] == "application/json"
    assert json.loads(got.body) == job_json(Ticket(job=done))


async def test_the_event_has_the_same_id_each_time_and_says_which_attempt_it_is(done):
    async with receiving() as receiver:
        await send(receiver, done)
        await send(receiver, done, tries=1)

    first, second = (one.headers for one in receiver.received)
    assert first["x-easel-event-id"] == second["x-easel-event-id"]
    assert (first["x-easel-attempt"], second["x-easel-attempt"]) == ("1", "2")
    assert first["x-easel-event"] == "job.delivered"
    assert first["user-agent"] == "Easel/9.9"


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "204 No Content"])
async def test_an_answer_of_200_and_above_accepts_it(done, status):
    async with receiving(answer(status)) as receiver:
        await send(receiver, done)


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "307 Same", "400 Bad", "401 No", "404 Not", "500 Broken", "503 Busy"]
)
async def test_every_other_answer_is_tried_again(done, status):
    async with receiving(answer(status, "Location: http://127.0.0.1:1/elsewhere")) as receiver:
        with pytest.raises(PlatformError) as raised:
            await send(receiver, done)

    assert not isinstance(raised.value, Undeliverable)
    assert raised.value.detail == f"HTTP {status[:3]}"
    assert raised.value.retry_after_s is None
    assert len(receiver.received) == 1


async def test_gone_is_final(done):
    async with receiving(answer("410 Gone")) as receiver:
        with pytest.raises(Undeliverable):
            await send(receiver, done)


@pytest.mark.parametrize(("said", "wait_s"), [("120", 120.0), ("0", 0.5), ("99999999", 3600.0), ("soon", None)])
async def test_the_wait_that_is_asked_for_is_kept_within_reason(done, said, wait_s):
    async with receiving(answer("429 Slow", f"Retry-After: {said}")) as receiver:
        with pytest.raises(PlatformError) as raised:
            await send(receiver, done)

    assert raised.value.retry_after_s == wait_s


async def test_the_wait_can_be_a_date(done):
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    async with receiving(answer("503 Busy", f"Retry-After: {at}")) as receiver:
        with pytest.raises(PlatformError) as raised:
            await send(receiver, done)

    assert raised.value.retry_after_s == pytest.approx(100, abs=30)


async def test_of_a_long_answer_only_a_little_is_read(done, monkeypatch):
    read = []
    discard = sending._discard

    async def counted(got):
        await discard(got)
        read.append(got.num_bytes_downloaded)

    monkeypatch.setattr(sending, "_discard", counted)
    async with receiving(answer("200 OK", body=b"x" * 2**22)) as receiver:
        await send(receiver, done)

    assert read[0] <= 2**17


async def test_nobody_there_is_tried_again_without_naming_the_address(done):
    async with receiving() as receiver:
        url = receiver.url
    with pytest.raises(PlatformError) as raised:
        await make_sender(url, done).send_event(make_delivery(done))

    assert raised.value.detail == "no connection"


async def test_a_refused_address_is_not_connected_to(done, monkeypatch):
    monkeypatch.setattr(addresses, "_look_up", lambda _host, port: [(2, 1, 6, "", ("127.0.0.1", port))])
    async with receiving() as receiver:
        url = receiver.url.replace("127.0.0.1", "rebound.example")
        with pytest.raises(PlatformError) as raised:
            await make_sender(url, done).send_event(make_delivery(done))
        await make_sender(url, done, allow_private=True).send_event(make_delivery(done))

    assert raised.value.detail == "its address is not allowed"
    assert [one.headers["host"] for one in receiver.received] == [f"rebound.example:{receiver.port}"]


async def test_an_erased_job_is_not_sent(done):
    async with receiving() as receiver:
        with pytest.raises(JobNotFound):
            await make_sender(receiver.url).send_event(make_delivery(done))

    assert receiver.received == []


async def test_the_library_says_where_events_go_only_where_the_log_does_not_listen(done, caplog):
    caplog.set_level(logging.INFO)
    async with receiving() as receiver:
        await send(receiver, done)

    named = {one.name.partition(".")[0] for one in caplog.records if "secret-path" in one.getMessage()}
    assert named <= set(QUIET_LOGGERS)


async def test_a_test_event_is_signed_like_any_other_and_about_no_job(done):
    async with receiving() as receiver:
        await make_sender(receiver.url).send_test("studio")

    [got] = receiver.received
    body = json.loads(got.body)
    assert got.headers["x-easel-event"] == "webhook.test"
    assert body == {"id": got.headers["x-easel-event-id"], "webhook": "studio"}
    assert got.headers["x-easel-signature"] == sending.sign(SECRET, got.headers["x-easel-timestamp"], got.body)
