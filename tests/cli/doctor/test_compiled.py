"""What `doctor`, `setup` and `models list` say about compiled builds."""

import json
import sqlite3
from contextlib import closing
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
UNUSED = "runs on torch. What was compiled for it is not used: `easel models optimize fox --delete-builds` deletes it."
CASES = {
    "plain": (PLAIN, None, OK, "runs on torch."),
    "would pay": (PLAIN, BUILD, OK, "runs on torch. It would be faster on OpenVINO (measured on this machine: 1.5 "
                  "times): `easel models optimize fox --yes` switches to it."),
    "not better": (PLAIN, replace(BUILD, report=SLOWER), OK, UNUSED),
    "used": (ON_OPENVINO, BUILD, OK, "runs on OpenVINO, float32, 1.5 times as fast as torch."),
    "library": (ON_OPENVINO, replace(BUILD, problem="library"), WARN, "runs on torch. OpenVINO has another version now "
                "than its build was made with: `easel models optimize fox` makes a new one."),
    "none": (ON_OPENVINO, None, WARN, "runs on torch. Its OpenVINO build is missing: `easel models optimize fox` makes "
             "one."),
}  # fmt: skip


class WithBuilds(TestComposition):
    states: tuple[BuildState, ...] = ()
    installed = True

    def list_builds(self, loaded):
        return self.states

    def builds_size_mb(self, loaded):
        return sum(one.size_mb for one in self.states)

    def is_installed(self, backend):
        return self.installed


@pytest.fixture
def results(data_dir, monkeypatch):
    monkeypatch.setattr(compiled, "program_name", lambda: "easel")

    def run(spec, *states, installed=True):
        composition = WithBuilds(data_dir)
        composition.states, composition.installed = states, installed
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
    (mark, sentence), *_ = results(ON_OPENVINO, installed=False)

    assert mark == WARN
    assert sentence.startswith("fox runs on torch. OpenVINO is not installed: `.venv/bin/uv pip install")


def test_builds_count_and_those_of_lost_models_are_named(results, data_dir):
    found = results(PLAIN, BUILD, replace(BUILD, model="gone", problem="model"))

    assert (OK, f"Compiled models take 116 MiB in {data_dir / 'builds'}.") in found
    assert (WARN, f"gone is not configured any more: delete {data_dir / 'builds' / BUILD.key}.") in found


@pytest.mark.parametrize(
    ("setting", "has_compiler", "mark"), [("on", False, WARN), ("on", True, OK), ("auto", False, OK)]
)
def test_a_missing_compiler_is_named_where_the_owner_wants_it(results, monkeypatch, setting, has_compiler, mark):
    monkeypatch.setattr(WithBuilds, "has_compiler", lambda _: has_compiler)
    found = results(replace(PLAIN, compile=setting))

    assert [(one, "install g++" in sentence) for one, sentence in found] == [(mark, mark == WARN)]


def test_what_a_server_has_learned_is_read_from_its_database(results, data_dir):
    with closing(sqlite3.connect(data_dir / "easel.db")) as database, database:
        form = {"dtype": "bfloat16", "dtype_gain": 1.6, "dtype_levels": 3, "attention": "native_flash"}
        database.execute("INSERT INTO model_form VALUES (?, ?)", ("fox", json.dumps(form)))

    assert results(PLAIN) == [
        (
            OK,
            "fox runs on torch, bfloat16, 1.6 times as fast as float32, at most 3 of 256 levels off, "
            "attention by native_flash.",
        )
    ]


def test_a_damaged_database_does_not_hide_the_models(results, data_dir):
    (data_dir / "easel.db").write_bytes(b"no database")

    assert results(PLAIN) == [(OK, "fox runs on torch.")]


@pytest.mark.parametrize("words", [("models", "list"), ("setup",)], ids=" ".join)
def test_other_commands_say_it_as_well(call, monkeypatch, words):
    monkeypatch.setattr(TestComposition, "list_builds", lambda *_: [replace(BUILD, model="paint")])

    assert (
        "paint runs on torch. It would be faster on OpenVINO (measured on this machine: 1.5 times)" in call(*words).out
    )


def test_the_list_names_what_runs_and_what_was_compiled(call, monkeypatch):
    monkeypatch.setattr(TestComposition, "list_builds", lambda *_: [replace(BUILD, model="paint")])

    said, listed = call("models", "list").out, json.loads(call("models", "list", "--json").out)

    paint = next(one for one in listed["models"] if one["name"] == "paint")
    assert "Runs on" in said
    assert "compiled 58 MiB" in said
    assert (paint["execution"]["sentence"], paint["execution"]["builds_mb"]) == ("Runs on torch.", 58)
