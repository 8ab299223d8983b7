"""What a heartbeat says, and what engines count for it."""

from types import SimpleNamespace
from typing import Any

import pytest

from inference.engine.pass_counts import PassCounts
from inference.ipc import messages
from inference.worker import heartbeat


class Enough(Exception):
    pass


def test_each_heartbeat_has_the_passes_since_the_last(monkeypatch):
    counts, sent = PassCounts(), []

    def send(beat):
        sent.append((beat.passes, beat.rows))
        counts.add(rows=4)
        if len(sent) == 3:
            raise Enough

    monkeypatch.setattr(heartbeat, "HEARTBEAT_S", 0.0)
    monkeypatch.setattr(heartbeat.faulthandler, "dump_traceback_later", lambda _seconds: None)
    connection: Any = SimpleNamespace(send=send)
    init = messages.Init(device="cpu", engine_factory="x:y")
    with pytest.raises(Enough):
        heartbeat._beat_forever(connection, init, counts)

    assert sent == [(0, 0), (1, 4), (1, 4)]


def test_the_counts_of_engines_are_taken_once():
    process, engine = PassCounts(), PassCounts()
    engine.add(rows=3)
    engine.add(rows=2)
    for _ in range(2):
        process.take_from(engine)

    assert (process.passes, process.rows) == (2, 5)


@pytest.mark.parametrize(("device", "expected"), [("cpu", True), ("cuda:0", False)])
def test_the_memory_of_a_device_without_its_library_is_unknown(device, expected, monkeypatch):
    monkeypatch.delitem(heartbeat.sys.modules, "torch", raising=False)

    assert bool(heartbeat.total_memory_mb(device)) is expected
