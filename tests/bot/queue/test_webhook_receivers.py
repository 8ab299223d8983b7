"""How many events a webhook may be sent at a time."""

import pytest

from bot.queue.webhook_receivers import FAILURES_IN_A_ROW, MAX_CONCURRENT_PER_WEBHOOK, WebhookReceivers


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def receivers(clock):
    return WebhookReceivers(now=clock)


def admitted(receivers, name="studio"):
    """How many more events may be sent; none of them is."""
    count = 0
    while receivers.admit(name):
        count += 1
    for _ in range(count):
        receivers.release(name)
    return count


def fail(receivers, times):
    for _ in range(times):
        receivers.note_failure("studio", lambda failures: 10.0 * 2**failures)


def test_a_receiver_that_answers_gets_several_events_at_a_time(receivers):
    assert admitted(receivers) == MAX_CONCURRENT_PER_WEBHOOK
    assert receivers.closed() == frozenset()


def test_a_full_receiver_is_closed_until_one_is_released(receivers):
    for _ in range(MAX_CONCURRENT_PER_WEBHOOK):
        receivers.admit("studio")

    assert receivers.closed() == {"studio"}
    assert receivers.next_open_s() is None
    receivers.release("studio")
    assert receivers.closed() == frozenset()


def test_single_failures_close_nothing(receivers):
    fail(receivers, FAILURES_IN_A_ROW - 1)
    receivers.note_answer("studio")
    fail(receivers, FAILURES_IN_A_ROW - 1)

    assert admitted(receivers) == MAX_CONCURRENT_PER_WEBHOOK


def test_after_failures_in_a_row_it_rests_longer_and_longer_and_gets_one_event(receivers, clock):
    fail(receivers, FAILURES_IN_A_ROW)
    first_s, during = receivers.next_open_s(), admitted(receivers)
    clock.seconds += 10.0
    then = admitted(receivers)
    fail(receivers, 1)

    assert (first_s, during, then) == (10.0, 0, 1)
    assert receivers.next_open_s() == 20.0
    assert admitted(receivers, "other") == MAX_CONCURRENT_PER_WEBHOOK


def test_an_answer_opens_it(receivers, clock):
    fail(receivers, FAILURES_IN_A_ROW)
    clock.seconds += 10.0
    receivers.note_answer("studio")

    assert admitted(receivers) == MAX_CONCURRENT_PER_WEBHOOK


def test_the_wait_that_it_asks_for_holds_from_the_first_time_and_is_not_shortened(receivers, clock):
    receivers.note_failure("studio", lambda failures: 1.0, asked_s=60.0)
    receivers.note_answer("studio")  # of an event that was under way
    receivers.note_failure("studio", lambda failures: 1.0, asked_s=5.0)
    clock.seconds += 59.0
    during = admitted(receivers)
    clock.seconds += 1.0

    assert (during, admitted(receivers)) == (0, MAX_CONCURRENT_PER_WEBHOOK)
