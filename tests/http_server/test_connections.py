"""Which connections are accepted, by address and in all."""

import pytest

from adapters.http_server.connections import ConnectionLimits, ConnectionRegistry, OccasionalReport, group_address


class Connection:
    def __init__(self):
        self.is_aborted = False

    def abort(self):
        self.is_aborted = True


@pytest.fixture
def registry():
    return ConnectionRegistry(ConnectionLimits(max_connections=3, max_per_address=2))


def connect(registry, host):
    connection = Connection()
    registry.add(connection, host)
    return connection


def test_one_address_has_its_limit_and_others_are_served(registry):
    first, _ = connect(registry, "192.0.2.1"), connect(registry, "192.0.2.1")

    assert not registry.has_space("192.0.2.1")
    assert registry.has_space("192.0.2.2")
    registry.remove(first)
    assert registry.has_space("192.0.2.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_proxy_on_this_machine_may_use_all_connections(registry, host):
    for _ in range(2):
        connect(registry, host)

    assert registry.has_space(host)


def test_without_a_limit_an_address_may_use_all_connections():
    registry = ConnectionRegistry(ConnectionLimits(max_per_address=0))
    for _ in range(200):
        connect(registry, "192.0.2.1")

    assert registry.has_space("192.0.2.1")


def test_the_longest_idle_connection_makes_room(registry):
    first, second, third = (connect(registry, f"192.0.2.{n}") for n in range(3))
    registry.mark_busy(first)
    registry.mark_busy(second)
    registry.mark_idle(second)

    assert registry.has_space("192.0.2.9")
    assert [one.is_aborted for one in (first, second, third)] == [False, False, True]
    assert len(registry) == 2


def test_a_connection_with_a_request_is_not_closed_for_another(registry):
    connections = [connect(registry, f"192.0.2.{n}") for n in range(3)]
    for one in connections:
        registry.mark_busy(one)

    assert not registry.has_space("192.0.2.9")
    assert not any(one.is_aborted for one in connections)


def test_a_closed_connection_does_not_become_idle_again(registry):
    gone = connect(registry, "192.0.2.1")
    registry.remove(gone)
    registry.remove(gone)
    registry.mark_idle(gone)

    assert not registry.close_idle()
    assert len(registry) == 0


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::1", "::1"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(host, group):
    assert group_address(host) == group


def test_a_flood_is_one_line_with_its_number():
    now = 0.0
    report = OccasionalReport(now=lambda: now)
    counts = [report.add_event() for _ in range(1000)]
    now = 61.0

    assert counts == [1, *[0] * 999]
    assert report.add_event() == 1000
