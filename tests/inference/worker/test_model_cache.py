"""What trials have measured reaches the model's next load, in the same process."""

from typing import Any, ClassVar

import pytest

from bot.ports import Measurement
from inference.ipc.messages import Init
from inference.safety.checker import SafetyChecker
from inference.worker.model_cache import ModelCache
from tests.inference.engines import TestEngine, harmless
from tests.inference.support import make_model


class NoPipes:
    def send(self, message: object) -> None:
        pass


class RecordingEngine(TestEngine):
    loaded: ClassVar[list[list[Measurement]]] = []

    def load_costs(self, measurements: Any) -> None:
        self.loaded.append(list(measurements))


@pytest.fixture
def cache():
    RecordingEngine.loaded = []
    init = Init(device="cpu", engine_factory="")
    return ModelCache(RecordingEngine, init, NoPipes(), SafetyChecker((), harmless))  # type: ignore[arg-type]


def measured(what: str, seconds: float, model: str = "test") -> Measurement:
    return Measurement(
        device="cpu", model=model, dtype="none", shape="", batch_size=1, what=what, seconds=seconds, backend="native"
    )


def test_a_model_is_loaded_with_what_its_trial_has_found(cache):
    cache.load_model(make_model(), busy=frozenset())
    for one in (measured("attention", 1.0), measured("attention", 2.0), measured("pass", 3.0)):
        cache.remember(one)
    cache.remember(measured("compile", 1.0, model="another"))

    cache.load_model(make_model(title="changed"), busy=frozenset())

    assert RecordingEngine.loaded == [[], [measured("attention", 2.0)]]


class TookFiveSeconds:
    unreported_s = 5.0

    def wait(self) -> None:
        pass


def test_an_early_import_counts_as_the_first_loads_import():
    sent: list[Any] = []
    pipes = type("Pipes", (), {"send": staticmethod(sent.append)})()
    init = Init(device="cpu", engine_factory="")
    checker = SafetyChecker((), harmless)
    cache = ModelCache(RecordingEngine, init, pipes, checker, libraries=TookFiveSeconds())  # type: ignore[arg-type]

    cache.load_model(make_model("one"), busy=frozenset())
    cache.load_model(make_model("two"), busy=frozenset())

    loads = [
        {one.what: one.seconds for one in message.measurements} for message in sent if hasattr(message, "measurements")
    ]
    assert loads[0]["import"] >= 5.0
    assert 0 <= loads[0]["load"] < 4.0
    assert "import" not in loads[1]
