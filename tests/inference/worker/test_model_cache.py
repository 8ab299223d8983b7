"""What trials have measured reaches the model's next load, in the same process."""

from dataclasses import replace
from typing import Any, ClassVar

import pytest

from bot.ports import Measurement
from inference.ipc.messages import Init
from inference.safety.checker import SafetyChecker
from inference.worker.model_cache import ModelCache
from tests.inference.engines import TestEngine, harmless
from tests.inference.plugin_files import write_plugin
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


CHANGED = {
    "settings": ({"backend": "openvino"}, False),
    "files": ({"generation": 1}, False),
    "capabilities": ({"capabilities": {"rows": 4}}, True),
    "default": ({"default_for": ("text-to-image",), "enabled": False}, True),
}


@pytest.mark.parametrize(("change", "is_same"), CHANGED.values(), ids=CHANGED)
def test_a_changed_model_is_loaded_anew_when_its_tasks_have_ended(cache, change, is_same):
    model = make_model("one")
    changed = replace(model, **change)
    cache.load_model(model, busy=frozenset())

    assert cache.can_load(changed, busy=frozenset({"one"})) is is_same
    assert cache.can_load(changed, busy=frozenset())
    cache.load_model(changed, busy=frozenset())
    assert len(RecordingEngine.loaded) == (1 if is_same else 2)


class ChangingEngine(TestEngine):
    found: ClassVar[dict[str, Any]] = {}

    @property
    def capabilities(self) -> Any:
        return {"dtype": "float32", **self.found}


def test_capabilities_are_reported_again_when_they_have_changed(monkeypatch):
    monkeypatch.setattr(ChangingEngine, "found", {"compile": True})
    init = Init(device="cpu", engine_factory="")
    cache = ModelCache(ChangingEngine, init, NoPipes(), SafetyChecker((), harmless))  # type: ignore[arg-type]
    cache.load_model(make_model("one"), busy=frozenset())
    before = cache.take_changed_capabilities("one")
    ChangingEngine.found.clear()
    ChangingEngine.found["compile_problem"] = "failed"

    changed = cache.take_changed_capabilities("one")

    assert before is None
    assert changed is not None
    assert changed.capabilities == {"dtype": "float32", "compile_problem": "failed", "checker": "missing"}
    assert cache.take_changed_capabilities("one") is None


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


def test_a_model_is_loaded_anew_when_other_plugins_may_change_it(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    plugins = [
        write_plugin(tmp_path, "steps", "def easel_step(latents): ..."),
        write_plugin(tmp_path, "loads", "def easel_model_loaded(pipeline): ..."),
    ]
    loads = []
    for enabled in ([], plugins[:1], plugins, plugins, plugins[:1]):
        cache._plugins.set_plugins(enabled)
        cache.load_model(make_model(), busy=frozenset())
        loads.append(len(RecordingEngine.loaded))

    assert loads == [1, 1, 2, 2, 3]
