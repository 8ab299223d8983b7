"""The outbox with a chat that fails, loses messages, hangs and limits rates."""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from bot.errors import StorageBusy, StorageFull
from bot.jobs import JobState, Media
from bot.ports import Progress
from bot.ports.platform_answers import (
    MessageGone,
    NotPermitted,
    PlatformError,
    TokenRefused,
    UnclearAnswer,
    Undeliverable,
)
from bot.queue import delivery as deliver
from bot.queue import message_progress
from bot.queue.delivery import Deliverer, back_off_s
from bot.queue.progress import ProgressBus
from tests.fakes import (
    FakeMediaStore,
    FakeOutbox,
    FakePlatform,
    eventually,
    make_chat_job,
    make_origin,
    make_result,
    media_id,
)

FOX = (b"a fox",)


class Post:
    """A deliverer with an outbox and one chat."""

    def __init__(self, *platforms):
        self.outbox = FakeOutbox()
        self.media = FakeMediaStore()
        self.media.files[media_id(b"a fox")] = Media(b"a fox", "image/png")
        self.events = ProgressBus()
        self.chat, *self.others = platforms or (FakePlatform(),)
        self.platforms = {platform.name: platform for platform in (self.chat, *self.others)}

    @asynccontextmanager
    async def running(self):
        deliverer = Deliverer(outbox=self.outbox, media=self.media, progress_bus=self.events, platforms=self.platforms)
        running = asyncio.create_task(deliverer.run_forever())
        try:
            yield deliverer
            assert not running.done(), "the deliverer ended by itself"
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def work_off(self):
        async with self.running():
            await eventually(lambda: not self.outbox.pending)

    def owe_result(self, *, placed=True, **overrides):
        """A rendered job whose placeholder was sent."""
        job = make_chat_job(state=JobState.RENDERED, result=make_result(), **overrides)
        if placed:
            self.outbox.refs[job.id] = "m0"
            self.chat.messages["m0"] = ["queued"]
        self.outbox.enqueue(job, "result")
        return job


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(deliver, "back_off_s", lambda tries: 0.002)
    monkeypatch.setattr(deliver, "refused_back_off_s", lambda tries: 0.002)
    monkeypatch.setattr(deliver, "STORAGE_RETRY_S", 0.002)
    monkeypatch.setattr(deliver, "OVERDUE_CHECK_S", 0.01)


@pytest.fixture
def post():
    return Post()


# ---------------------------------------------------------------- placeholder and result


async def test_a_placeholder_is_placed_and_its_message_remembered(post):
    job = make_chat_job()
    post.outbox.enqueue(job, "placeholder")

    await post.work_off()

    assert post.outbox.refs == {job.id: "m1"}
    assert post.outbox.delivered == []


async def test_the_placeholder_is_edited_into_the_result(post):
    job = post.owe_result()

    await post.work_off()

    assert post.chat.messages == {"m0": ["queued", FOX]}
    assert post.outbox.delivered == [job.id]


async def test_the_placeholder_goes_before_the_result(post):
    job = make_chat_job(state=JobState.RENDERED, result=make_result())
    post.outbox.enqueue(job, "result")
    post.outbox.enqueue(job, "placeholder")

    await post.work_off()

    assert [name for name, _ in post.chat.calls] == ["post_placeholder", "edit_result"]


async def test_a_look_that_began_before_a_delivery_was_recorded_does_not_repeat_it(post, monkeypatch):
    post.outbox.enqueue(make_chat_job(), "placeholder")
    look = post.outbox.due_deliveries

    async def look_slowly(**besides):
        found = await look(**besides)
        await asyncio.sleep(0.01)  # meanwhile what is under way ends, and is found no more
        return found

    monkeypatch.setattr(post.outbox, "due_deliveries", look_slowly)
    async with post.running() as deliverer:
        await eventually(lambda: post.chat.calls)
        deliverer.wake()
        await eventually(lambda: not post.outbox.pending)
        await asyncio.sleep(0.05)

    assert [name for name, _ in post.chat.calls] == ["post_placeholder"]


async def test_a_job_erased_during_its_delivery_is_not_sent_again(post):
    """Its owner pressed Delete: the message is gone, and the result must not be sent again."""
    post.owe_result()
    edit = post.chat.edit_result

    async def edit_too_late(delivery, pictures):
        post.outbox.pending.clear()
        raise MessageGone

    post.chat.edit_result = edit_too_late
    async with post.running():
        await eventually(lambda: not post.outbox.pending)
        await asyncio.sleep(0.05)
    post.chat.edit_result = edit

    assert post.chat.called("send_result") == []
    assert post.chat.called("notify_undeliverable") == []
    assert post.outbox.undeliverable == []


async def test_what_was_erased_since_it_was_due_is_not_shown_at_all(post, monkeypatch):
    post.owe_result()
    found = await post.outbox.due_deliveries()
    post.outbox.pending.clear()
    looks = iter([found])

    async def look(**_besides):
        return next(looks, [])

    monkeypatch.setattr(post.outbox, "due_deliveries", look)
    async with post.running():
        await eventually(lambda: post.outbox.called("is_pending"))
        await asyncio.sleep(0.05)

    assert [name for name, _ in post.chat.calls] == []


async def test_the_placeholder_of_a_failed_job_is_edited(post):
    job = make_chat_job(state=JobState.FAILED)
    post.outbox.refs[job.id] = "m0"
    post.chat.messages["m0"] = ["queued"]
    post.outbox.enqueue(job, "result")

    await post.work_off()

    assert post.chat.called("edit_result")[0].pictures == []


async def test_without_a_placeholder_the_result_is_sent(post):
    job = post.owe_result(placed=False)

    await post.work_off()

    assert post.chat.messages == {"m1": [FOX]}
    assert post.outbox.delivered == [job.id]


async def test_a_placeholder_that_was_deleted_is_replaced_by_a_new_message(post):
    job = post.owe_result()
    post.chat.failures["edit_result"] = [MessageGone()]

    await post.work_off()

    assert [name for name, _ in post.chat.calls] == ["edit_result", "send_result"]
    assert post.outbox.delivered == [job.id]


async def test_a_result_that_is_shown_again_without_a_deleted_picture_is_never_posted_anew(post):
    job = post.owe_result()
    [(number, delivery)] = post.outbox.pending.items()
    post.outbox.pending[number] = replace(delivery, is_update=True)
    post.chat.failures["edit_result"] = [MessageGone()]

    await post.work_off()

    assert [name for name, _ in post.chat.calls] == ["edit_result"]
    assert post.outbox.delivered == [job.id]


async def test_followers_are_notified_of_the_delivery(post):
    job = post.owe_result()

    with post.events.follow_job(job.id) as follower:
        await post.work_off()

        assert await follower.next() == (True, None)


async def test_an_image_deleted_by_retention_is_left_out(post):
    post.media.files.clear()
    job = post.owe_result()

    await post.work_off()

    assert post.chat.called("edit_result")[0].pictures == []
    assert post.outbox.delivered == [job.id]


async def test_what_was_due_before_the_start_goes_out(post):
    jobs = [post.owe_result() for _ in range(120)]

    await post.work_off()

    assert sorted(post.outbox.delivered) == sorted(job.id for job in jobs)


async def test_what_becomes_due_later_goes_out_when_woken(post):
    async with post.running() as deliverer:
        await asyncio.sleep(0.01)
        post.owe_result()
        deliverer.wake()
        await eventually(lambda: post.outbox.delivered)


async def test_only_a_few_results_are_in_memory_at_the_same_time(post):
    post.chat.gates["edit_result"] = asyncio.Event()
    jobs = [post.owe_result(origin=make_origin(platform="chat", chat_id=str(number % 7))) for number in range(50)]

    async with post.running():
        await eventually(lambda: len(post.chat.called("edit_result")) == deliver.MAX_CONCURRENT)
        await asyncio.sleep(0.02)
        reads = len(post.media.called("read_media"))
        post.chat.gates["edit_result"].set()
        await eventually(lambda: len(post.outbox.delivered) == len(jobs))

    assert reads == deliver.MAX_CONCURRENT


# ---------------------------------------------------------------- once is enough


async def test_a_nonce_is_stable_short_and_one_for_each_kind(post):
    job = make_chat_job()
    first, again = post.outbox.enqueue(job, "result"), post.outbox.enqueue(job, "result", tries=7)
    placeholder = post.outbox.enqueue(job, "placeholder")

    assert first.nonce == again.nonce != placeholder.nonce
    assert len(first.nonce) <= 25


async def test_a_message_whose_answer_was_lost_is_not_posted_twice(post):
    post.owe_result(placed=False)
    post.chat.gates["send_result"] = asyncio.Event()
    async with post.running():
        await eventually(lambda: post.chat.called("send_result"))
    post.chat.gates["send_result"].set()

    await post.work_off()

    assert len(post.chat.called("send_result")) == 2
    assert post.chat.results() == [FOX]


@pytest.mark.parametrize("error", [StorageBusy, StorageFull])
async def test_what_the_platform_confirmed_is_recorded_however_long_it_takes(post, error):
    post.owe_result(placed=False)
    post.outbox.failures["mark_sent"] = [error() for _ in range(5)]

    await post.work_off()

    assert len(post.chat.called("send_result")) == 1
    assert not post.outbox.called("schedule_retry")


async def test_a_confirmation_that_cannot_be_stored_is_not_retried_immediately(post, monkeypatch):
    monkeypatch.setattr(deliver, "back_off_s", lambda tries: 60.0)
    post.owe_result()
    post.outbox.failures["mark_sent"] = [ValueError("a bug")]
    post.outbox.failures["schedule_retry"] = [ValueError("a bug")]

    async with post.running():
        await eventually(lambda: post.chat.called("edit_result"))
        await asyncio.sleep(0.03)

        assert len(post.chat.called("edit_result")) == 1


# ---------------------------------------------------------------- trying again


async def test_a_failed_edit_is_retried_and_not_sent_as_a_new_message(post):
    post.owe_result()
    post.chat.failures["edit_result"] = [PlatformError("502"), PlatformError("502")]

    await post.work_off()

    assert [name for name, _ in post.chat.calls] == ["edit_result"] * 3
    assert [call.delivery.tries for call in post.outbox.called("schedule_retry")] == [0, 1]


async def test_patience_that_a_platform_asks_for_is_kept(post):
    post.owe_result()
    post.chat.failures["edit_result"] = [PlatformError("429", retry_after_s=42.0)]

    async with post.running():
        await eventually(lambda: post.outbox.called("schedule_retry"))

    assert post.outbox.called("schedule_retry")[0].delay_s == 42.0


@pytest.mark.parametrize("asked_s", [0.0, -3.0])
async def test_a_platform_that_asks_for_no_patience_gets_a_little(post, asked_s):
    post.owe_result()
    post.chat.failures["edit_result"] = [PlatformError("429", retry_after_s=asked_s)]

    async with post.running():
        await eventually(lambda: post.outbox.called("schedule_retry"))

    assert post.outbox.called("schedule_retry")[0].delay_s == 0.5


@pytest.mark.parametrize(
    ("tries", "longest"),
    [(0, 5), (1, 10), (5, 160), (10, 300), (deliver.MAX_TRIES - 1, 300), (deliver.MAX_TRIES, 1800)],
)
def test_back_off_grows_to_five_minutes_and_after_a_day_to_half_an_hour(tries, longest):
    waits = [back_off_s(tries) for _ in range(200)]

    assert min(waits) >= 0.5
    assert longest / 2 < max(waits) <= longest
    assert len(set(waits)) > 100


async def test_an_undeliverable_result_is_given_up_and_stays_in_history(post):
    job = post.owe_result()
    post.chat.failures["edit_result"] = [Undeliverable("blocked")]

    await post.work_off()

    assert post.outbox.undeliverable == [job.id]
    assert post.outbox.delivered == []
    assert post.chat.messages == {"m0": ["queued", "kept"]}
    assert not post.outbox.called("schedule_retry")


async def test_a_person_who_blocked_the_bot_gets_no_further_messages(post):
    job = post.owe_result()
    post.chat.failures["edit_result"] = [Undeliverable("blocked")]
    post.chat.failures["notify_undeliverable"] = [Undeliverable("blocked")]

    await post.work_off()

    assert post.outbox.undeliverable == [job.id]
    assert post.chat.messages == {"m0": ["queued"]}


async def test_a_chat_that_does_not_respond_leaves_slots_to_the_others(post):
    hangs = post.chat.gates["edit_result"] = asyncio.Event()
    slow = [
        post.owe_result(origin=make_origin(platform="chat", chat_id="hangs")) for _ in range(deliver.MAX_CONCURRENT + 1)
    ]
    async with post.running():
        await eventually(lambda: post.chat.called("edit_result"))
        post.chat.gates.pop("edit_result")
        other = post.owe_result(origin=make_origin(platform="chat", chat_id="other"))
        post.outbox.pending = dict(reversed(post.outbox.pending.items()))
        await eventually(lambda: other.id in post.outbox.delivered)
        assert not {job.id for job in slow} & set(post.outbox.delivered[: post.outbox.delivered.index(other.id)])
        hangs.set()
        await eventually(lambda: len(post.outbox.delivered) == len(slow) + 1)


# ---------------------------------------------------------------- what the platform's answer means


async def test_while_the_bot_may_not_write_the_result_is_kept_and_tried_again_calmly(post):
    job = post.owe_result()
    post.chat.failures["edit_result"] = [NotPermitted("topic closed"), NotPermitted("topic closed")]
    post.chat.failures["notify_undeliverable"] = [NotPermitted("topic closed"), NotPermitted("topic closed")]

    await post.work_off()

    assert post.chat.messages == {"m0": ["queued", FOX]}
    assert post.outbox.delivered == [job.id]


async def test_where_the_bot_may_not_write_a_result_the_placeholder_says_where_it_is(post):
    job = post.owe_result()
    post.chat.failures["edit_result"] = [NotPermitted("no photos")]

    await post.work_off()

    assert post.chat.messages == {"m0": ["queued", "kept"]}
    assert post.outbox.undeliverable == [job.id]


async def test_a_placeholder_that_may_not_be_posted_does_not_delay_its_result(post):
    job = make_chat_job(state=JobState.RENDERED, result=make_result())
    post.outbox.enqueue(job, "placeholder")
    post.outbox.enqueue(job, "result")
    post.chat.failures["post_placeholder"] = [NotPermitted("blocked")]

    await post.work_off()

    assert post.chat.messages == {"m1": [FOX]}


async def test_a_result_that_may_not_be_written_for_a_month_is_given_up(post):
    job = make_chat_job(state=JobState.RENDERED, result=make_result())
    post.outbox.enqueue(job, "result", tries=deliver.MAX_REFUSED_TRIES - 1)
    post.chat.failures["send_result"] = [NotPermitted("blocked")]

    await post.work_off()

    assert post.outbox.undeliverable == [job.id]


def test_where_the_bot_may_not_write_is_tried_four_times_a_day_for_a_month(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(deliver.random, "uniform", lambda least, most: (least + most) / 2)

    waits = [deliver.refused_back_off_s(tries) for tries in range(deliver.MAX_REFUSED_TRIES)]

    assert waits[0] == 60
    assert max(waits) == 6 * 3600
    assert 28 * 24 * 3600 < sum(waits) < 32 * 24 * 3600


@pytest.mark.parametrize("patience", [3, 10])
async def test_an_unclear_answer_is_tried_until_the_fallbacks_failed_too_and_then_said(post, patience):
    job = post.owe_result()
    post.chat.failures["edit_result"] = [UnclearAnswer("418", patience=patience) for _ in range(50)]

    await post.work_off()

    assert len(post.chat.called("edit_result")) == patience + 1  # the last one with the fallbacks
    assert post.chat.messages == {"m0": ["queued", "kept"]}
    assert post.outbox.undeliverable == [job.id]


async def test_an_unclear_answer_to_everything_gives_nothing_up(post):
    job = post.owe_result()
    post.chat.failures["edit_result"] = [UnclearAnswer("page") for _ in range(20)]
    post.chat.failures["notify_undeliverable"] = [UnclearAnswer("page") for _ in range(50)]

    await post.work_off()

    assert post.chat.messages == {"m0": ["queued", FOX]}
    assert post.outbox.delivered == [job.id]


async def test_a_refused_token_costs_no_try_and_gives_nothing_up(post):
    job = post.owe_result()
    post.outbox.pending = {key: replace(one, tries=deliver.MAX_TRIES) for key, one in post.outbox.pending.items()}
    post.chat.failures["edit_result"] = [TokenRefused("401", retry_after_s=0.0) for _ in range(3)]

    await post.work_off()

    assert [call.delivery.tries for call in post.outbox.called("schedule_retry")] == [deliver.MAX_TRIES] * 3
    assert post.outbox.delivered == [job.id]


async def test_a_placeholder_that_cannot_be_told_now_is_told_later(post):
    """The result is rejected for good, and an outage keeps the placeholder from saying so: it must not stay queued."""
    job = post.owe_result()
    post.chat.failures["edit_result"] = [Undeliverable("invalid") for _ in range(9)]
    post.chat.failures["notify_undeliverable"] = [PlatformError("502"), TimeoutError(), NotPermitted("403")]

    await post.work_off()

    assert post.chat.messages == {"m0": ["queued", "kept"]}
    assert post.outbox.undeliverable == [job.id]


async def test_the_result_is_sent_even_if_the_placeholder_is_undeliverable(post):
    job = make_chat_job(state=JobState.RENDERED, result=make_result())
    post.outbox.enqueue(job, "placeholder")
    post.outbox.enqueue(job, "result")
    post.chat.failures["post_placeholder"] = [Undeliverable("no threads here")]

    await post.work_off()

    assert post.chat.messages == {"m1": [FOX]}


def owe_after_a_day(post, *, placed=True):
    """A result that was tried one time less than the limit."""
    job = post.owe_result(placed=placed)
    post.outbox.pending = {key: replace(one, tries=deliver.MAX_TRIES - 1) for key, one in post.outbox.pending.items()}
    return job


async def test_after_a_day_of_trying_the_placeholder_says_where_the_result_is(post):
    job = owe_after_a_day(post)
    post.chat.failures["edit_result"] = [PlatformError("502")]

    await post.work_off()

    assert post.chat.messages == {"m0": ["queued", "kept"]}
    assert post.outbox.undeliverable == [job.id]


@pytest.mark.parametrize("error", [PlatformError("502"), MessageGone(), TimeoutError()])
async def test_a_platform_that_is_still_away_after_a_day_is_not_given_up(post, error):
    job = owe_after_a_day(post)
    post.chat.failures["edit_result"] = [PlatformError("502"), PlatformError("502")]
    post.chat.failures["notify_undeliverable"] = [error, error]

    await post.work_off()

    assert post.chat.messages == {"m0": ["queued", FOX]}
    assert post.outbox.delivered == [job.id]


async def test_without_a_placeholder_a_result_is_sent_after_more_than_a_day(post):
    job = owe_after_a_day(post, placed=False)
    post.chat.failures["send_result"] = [PlatformError("502")]

    await post.work_off()

    assert post.chat.messages == {"m1": [FOX]}
    assert post.outbox.delivered == [job.id]


async def test_after_a_month_more_it_is_given_up(post):
    job = make_chat_job(state=JobState.RENDERED, result=make_result())
    post.outbox.enqueue(job, "result", tries=deliver.MAX_RESULT_TRIES - 1)
    post.chat.failures["send_result"] = [PlatformError("502")]

    await post.work_off()

    assert post.outbox.undeliverable == [job.id]


async def test_a_placeholder_is_left_out_after_a_day_and_the_result_sent(post):
    job = make_chat_job(state=JobState.RENDERED, result=make_result())
    post.outbox.enqueue(job, "placeholder", tries=deliver.MAX_TRIES - 1)
    post.outbox.enqueue(job, "result")
    post.chat.failures["post_placeholder"] = [PlatformError("502")]

    await post.work_off()

    assert post.chat.messages == {"m1": [FOX]}


def test_deliveries_are_retried_for_a_day_and_then_a_month(monkeypatch):
    monkeypatch.setattr(deliver.random, "uniform", lambda least, most: (least + most) / 2)

    assert sum(back_off_s(tries) for tries in range(deliver.MAX_TRIES)) > 24 * 3600
    assert sum(back_off_s(tries) for tries in range(deliver.MAX_RESULT_TRIES)) > 30 * 24 * 3600


async def test_waits_that_a_platform_asks_for_are_no_tries(post):
    job = make_chat_job(state=JobState.RENDERED, result=make_result())
    post.outbox.enqueue(job, "result", tries=deliver.MAX_TRIES - 1)
    post.chat.failures["send_result"] = [PlatformError("429", retry_after_s=0.0)] * 2

    await post.work_off()

    assert post.outbox.delivered == [job.id]


@pytest.mark.parametrize("error", [RuntimeError("a bug"), TimeoutError(), OSError("reset")])
async def test_an_unexpected_error_is_tried_again(post, error):
    post.owe_result()
    post.chat.failures["edit_result"] = [error]

    await post.work_off()

    assert post.chat.results() == [FOX]
    assert len(post.outbox.called("schedule_retry")) == 1


async def test_a_platform_that_does_not_answer_is_asked_again(post, monkeypatch):
    monkeypatch.setattr(deliver, "CALL_TIMEOUT_S", 0.01)
    post.owe_result()
    post.chat.gates["edit_result"] = asyncio.Event()

    async with post.running():
        await eventually(lambda: post.outbox.called("schedule_retry"))
        post.chat.gates["edit_result"].set()
        await eventually(lambda: post.outbox.delivered)

    assert post.chat.results() == [FOX]


async def test_a_busy_database_while_reading_pictures_delays_the_result_only(post):
    post.owe_result()
    post.media.failures["read_media"] = [StorageBusy(), StorageBusy()]

    await post.work_off()

    assert post.chat.results() == [FOX]


@pytest.mark.parametrize("error", [StorageBusy(), ValueError("a bug")])
@pytest.mark.parametrize("method", ["due_deliveries", "next_due_s"])
async def test_an_outbox_that_fails_is_asked_again(post, error, method):
    post.outbox.failures[method] = [error]
    async with post.running() as deliverer:
        await asyncio.sleep(0.01)
        post.owe_result()
        deliverer.wake()
        await eventually(lambda: post.outbox.delivered)


# ---------------------------------------------------------------- one platform does not stop another


def owe_on(post, platform, count):
    jobs = [
        make_chat_job(origin=make_origin(platform=platform), state=JobState.RENDERED, result=make_result())
        for _ in range(count)
    ]
    for job in jobs:
        post.outbox.enqueue(job, "result")
    return [job.id for job in jobs]


async def test_a_platform_that_is_down_does_not_stop_another(monkeypatch):
    monkeypatch.setattr(deliver, "back_off_s", lambda tries: 0.05)
    post = Post(FakePlatform("down"), FakePlatform("up"))
    post.chat.failures["send_result"] = [PlatformError("502") for _ in range(100_000)]
    owe_on(post, "down", 200)
    well = owe_on(post, "up", 3)

    async with post.running():
        await eventually(lambda: sorted(post.outbox.delivered) == sorted(well))


async def test_a_platform_that_hangs_does_not_stop_another():
    post = Post(FakePlatform("hung"), FakePlatform("up"))
    post.chat.gates["send_result"] = asyncio.Event()
    owe_on(post, "hung", 400)
    well = owe_on(post, "up", 3)

    async with post.running():
        await eventually(lambda: sorted(post.outbox.delivered) == sorted(well))


async def test_a_platform_that_is_switched_off_does_not_stop_another():
    post = Post(FakePlatform("up"))
    gone = owe_on(post, "off", 120)
    well = owe_on(post, "up", 3)

    async with post.running():
        await eventually(lambda: sorted(post.outbox.delivered) == sorted(well))
        await eventually(lambda: len(post.outbox.called("schedule_retry")) == len(gone))

    assert {call.delay_s for call in post.outbox.called("schedule_retry")} == {deliver.OFFLINE_RETRY_S}
    assert {one.tries for one in post.outbox.pending.values()} == {0}
    assert {one.job.id for one in post.outbox.pending.values()} == set(gone)


# ---------------------------------------------------------------- progress


@asynccontextmanager
async def placed(post, job):
    """The deliverer, after it posted the job's placeholder and follows its progress."""
    post.outbox.enqueue(job, "placeholder")
    async with post.running() as deliverer:
        await eventually(lambda: post.events.is_watched(job.id))
        yield deliverer


def step(number):
    return Progress(step=number, steps=9)


def end(post, job):
    post.outbox.enqueue(make_chat_job(id=job.id, state=JobState.RENDERED, result=make_result()), "result")


async def test_progress_is_shown_in_the_placeholder(post):
    job = make_chat_job()
    async with placed(post, job):
        post.events.publish_progress(job.id, step(1))
        await eventually(lambda: post.chat.messages["m1"] == ["queued", 1])


async def test_progress_is_shown_again_after_a_restart(post):
    job = make_chat_job(state=JobState.RUNNING)
    post.chat.messages["m0"] = ["queued"]
    post.outbox.open = [replace(post.outbox.enqueue(job, "placeholder"), message_ref="m0")]
    post.outbox.pending.clear()
    post.outbox.refs[job.id] = "m0"
    async with post.running() as deliverer:
        await eventually(lambda: post.events.is_watched(job.id))
        post.events.publish_progress(job.id, step(1))
        await eventually(lambda: post.chat.messages["m0"] == ["queued", 1])
        end(post, job)
        deliverer.wake()
        await eventually(lambda: post.outbox.delivered)

    assert post.chat.messages["m0"] == ["queued", 1, FOX]
    assert not post.events.is_watched(job.id)


@pytest.mark.parametrize("trouble", ["the database", "another platform", "no message"])
async def test_progress_that_cannot_be_shown_again_harms_nothing(post, trouble):
    elsewhere = make_chat_job(origin=make_origin(platform="off", chat_id="7"))
    lost = replace(post.outbox.enqueue(elsewhere, "placeholder"), message_ref="m9")
    post.outbox.pending.clear()
    post.outbox.open = [lost if trouble == "another platform" else replace(lost, message_ref=None)]
    post.outbox.failures["watched"] = [StorageBusy()] if trouble == "the database" else []
    job = post.owe_result()
    await post.work_off()

    assert post.outbox.delivered == [job.id]


async def test_only_adapters_that_are_chats_deliver(post):
    class Page:
        name = "web"

        async def serve(self):
            pass

    chat = FakePlatform("later")
    deliverer = Deliverer(outbox=post.outbox, media=post.media, progress_bus=post.events, platforms={})
    deliverer.connect([Page(), chat])

    assert deliverer.platforms == {"later": chat}


async def test_a_slow_platform_shows_the_latest_step_only(post):
    job = make_chat_job()
    post.chat.gates["show_progress"] = asyncio.Event()
    async with placed(post, job):
        post.events.publish_progress(job.id, step(1))
        await eventually(lambda: post.chat.called("show_progress"))
        for number in range(2, 6):
            post.events.publish_progress(job.id, step(number))
            await asyncio.sleep(0.002)
        post.chat.gates["show_progress"].set()
        await eventually(lambda: post.chat.messages["m1"] == ["queued", 1, 5])


@pytest.mark.parametrize("error", [PlatformError("429"), RuntimeError("a bug"), TimeoutError()])
async def test_progress_that_cannot_be_shown_harms_nothing(post, error):
    job = make_chat_job()
    post.chat.failures["show_progress"] = [error]
    async with placed(post, job) as deliverer:
        post.events.publish_progress(job.id, step(1))
        await eventually(lambda: post.chat.called("show_progress"))
        post.events.publish_progress(job.id, step(2))
        await eventually(lambda: post.chat.messages["m1"] == ["queued", 2])
        end(post, job)
        deliverer.wake()
        await eventually(lambda: post.outbox.delivered)


async def test_no_progress_is_shown_after_the_result(post):
    job = make_chat_job()
    async with placed(post, job) as deliverer:
        end(post, job)
        deliverer.wake()
        await eventually(lambda: post.outbox.delivered)
        post.events.publish_progress(job.id, step(9))
        await asyncio.sleep(0.01)

    assert post.chat.messages["m1"] == ["queued", FOX]
    assert not post.events.is_watched(job.id)


async def test_progress_on_its_way_arrives_before_the_result(post):
    job = make_chat_job()
    post.chat.gates["show_progress"] = asyncio.Event()
    async with placed(post, job) as deliverer:
        post.events.publish_progress(job.id, step(1))
        await eventually(lambda: post.chat.called("show_progress"))
        end(post, job)
        deliverer.wake()
        await asyncio.sleep(0.01)
        post.chat.gates["show_progress"].set()
        await eventually(lambda: post.outbox.delivered)

    assert post.chat.messages["m1"] == ["queued", 1, FOX]


async def test_progress_that_hangs_does_not_hold_up_the_result(post, monkeypatch):
    monkeypatch.setattr(message_progress, "PROGRESS_GRACE_S", 0.01)
    job = make_chat_job()
    post.chat.gates["show_progress"] = asyncio.Event()
    async with placed(post, job) as deliverer:
        post.events.publish_progress(job.id, step(1))
        await eventually(lambda: post.chat.called("show_progress"))
        end(post, job)
        deliverer.wake()
        await eventually(lambda: post.outbox.delivered)


async def test_a_job_that_ended_before_its_placeholder_is_not_watched(post):
    job = make_chat_job(state=JobState.FAILED)
    post.outbox.enqueue(job, "placeholder")

    async with post.running():
        await eventually(lambda: not post.outbox.pending)

        assert not post.events.is_watched(job.id)


async def test_stopping_stops_watching(post):
    job = make_chat_job()
    async with placed(post, job):
        pass

    assert not post.events.is_watched(job.id)


@pytest.mark.parametrize("turns", range(6))
async def test_a_stop_that_comes_with_a_wake_is_heard(post, turns):
    deliverer = Deliverer(outbox=post.outbox, media=post.media, progress_bus=post.events, platforms=post.platforms)
    running = asyncio.create_task(deliverer.run_forever())
    await asyncio.sleep(0.01)

    deliverer.wake()
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()

    done, _ = await asyncio.wait([running], timeout=20)
    assert done
