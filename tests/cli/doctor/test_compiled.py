"""What `doctor`, `setup` and `models list` say about compiled builds."""

from dataclasses import replace

import pytest

from adapters.cli.doctor import compiled
from adapters.cli.doctor.check import OK, WARN
from bot.models import ModelRegistry
from bot.ports import BuildState, RowSpeed
from tests.cli.app_fixture import TestComposition
from tests.model_manager_fixture import FASTER, FOX

PLAIN = replace(FOX, enabled=True)
ON_OPENVINO = replace(PLAIN, backend="openvino")
SLOWER = replace(FASTER, speeds=(RowSpeed(1, 0.1, 0.2),))
BUILD = BuildState(
    key="a" * 64, model="fox", backend="openvino", precision="float32", weights="none", size_mb=58, report=FASTER
)
HALF = replace(BUILD, precision="bfloat16")
UNUSED = "runs on torch, and what was compiled for it is not used: `easel models optimize fox --delete-builds`."
CASES = {
    "would pay": (PLAIN, BUILD, OK, "would be faster on openvino (measured on this machine: 1.5 times): "
                  "`easel models optimize fox --yes`."),
    "would pay in half precision": (PLAIN, HALF, OK, "would be faster on openvino (measured on this machine: 1.5 "
                                    "times): `easel models optimize fox --precision bfloat16 --yes`."),
    "not better": (PLAIN, replace(BUILD, report=SLOWER), OK, UNUSED),
    "used": (ON_OPENVINO, BUILD, OK, "runs on openvino (measured on this machine: 1.5 times as fast)."),
    "library": (ON_OPENVINO, replace(BUILD, problem="library"), WARN, "runs on torch, because its build is not used: "
                "openvino has another version now. `easel models optimize fox` makes one."),
    "processor": (ON_OPENVINO, replace(BUILD, problem="processor"), WARN, "it was made for another processor"),
    "damaged": (ON_OPENVINO, replace(BUILD, problem="damaged"), WARN, "it is damaged"),
    "weights": (ON_OPENVINO, replace(BUILD, problem="weights"), WARN, "the model has other weights now"),
    "other format": (ON_OPENVINO, HALF, WARN, "it has no build here. `easel models optimize fox` makes one."),
    "none": (ON_OPENVINO, None, WARN, "runs on torch, because it has no build here"),
    "onnx": (replace(PLAIN, backend="onnx"), None, WARN, "`easel models optimize fox --backend onnx` makes one."),
}  # fmt: skip


class WithBuilds(TestComposition):
    states: tuple[BuildState, ...] = ()
    version = "1.0"

    def list_builds(self, loaded):
        return self.states

    def library_version(self, backend):
        return self.version


@pytest.fixture
def results(data_dir, monkeypatch):
    monkeypatch.setattr(compiled, "program_name", lambda: "easel")

    def run(spec, *states, version="1.0"):
        composition = WithBuilds(data_dir)
        composition.states, composition.version = states, version
        loaded = replace(composition.load(None), models=ModelRegistry({spec.name: spec}))
        return [(check.mark, check.sentence) for check in compiled.check_builds(composition, loaded)]

    return run


@pytest.mark.parametrize(("spec", "state", "mark", "words"), CASES.values(), ids=CASES)
def test_a_model_and_its_build(results, spec, state, mark, words):
    found = results(spec, *([state] if state else []))

    assert found[0][0] == mark
    assert words in found[0][1]
    assert found[0][1].startswith("fox ")
    assert len(found) == (2 if state else 1)


def test_a_missing_library_is_named(results):
    (mark, sentence), *_ = results(ON_OPENVINO, version="")

    assert mark == WARN
    assert sentence.startswith("fox runs on torch, because openvino is not installed: `.venv/bin/uv pip install")


def test_builds_count_and_those_of_lost_models_are_named(results, data_dir):
    found = results(PLAIN, BUILD, replace(BUILD, model="gone", problem="model"))

    assert (OK, f"What was compiled for models takes 116 MiB in {data_dir / 'builds'}.") in found
    assert (WARN, f"gone is not configured any more: delete {data_dir / 'builds' / BUILD.key}.") in found


@pytest.mark.parametrize(("setting", "has_compiler", "lines"), [("on", False, 1), ("on", True, 0), ("auto", False, 0)])
def test_a_missing_compiler_is_named_where_the_owner_wants_it(results, monkeypatch, setting, has_compiler, lines):
    monkeypatch.setattr(WithBuilds, "has_compiler", lambda _: has_compiler)
    found = results(replace(PLAIN, compile=setting))

    assert [(mark, "install g++" in sentence) for mark, sentence in found] == [(WARN, True)] * lines


def test_a_model_without_builds_on_torch_has_no_line(results):
    assert results(PLAIN) == []


@pytest.mark.parametrize("words", [("models", "list"), ("setup",)], ids=" ".join)
def test_other_commands_say_it_as_well(call, monkeypatch, words):
    monkeypatch.setattr(TestComposition, "list_builds", lambda *_: [replace(BUILD, model="paint")])

    assert "paint would be faster on openvino (measured on this machine: 1.5 times)" in call(*words).out
