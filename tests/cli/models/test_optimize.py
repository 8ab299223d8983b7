"""`easel models optimize`, in this process and through a running server."""

import json
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from adapters.cli.client import http_models
from adapters.cli.error_output import Failure
from adapters.cli.models import install, optimize
from bot.errors import ModelRefused
from composition.settings import ROOT
from tests import model_manager_fixture as fixture
from tests.cli.app_fixture import serving

MODES = pytest.mark.parametrize("open_mode", [nullcontext, serving], ids=["local", "server"])
REPORT = """\
Rows  torch    openvino  Speed
1     0.300 s  0.200 s   1.50 times
2     0.600 s  0.400 s   1.50 times
4     1.200 s  0.800 s   1.50 times
8     2.400 s  1.600 s   1.50 times
"""


@pytest.fixture(autouse=True)
def frequent_polling(monkeypatch):
    monkeypatch.setattr(http_models, "POLL_INTERVAL_S", 0.01)


@pytest.fixture
def builds(monkeypatch):
    """The same for every application of a test, as on a disk."""
    made = fixture.FakeBuilds()
    monkeypatch.setattr(fixture, "FakeBuilds", lambda: made)
    return made


def settings(data_dir):
    path = data_dir / "config.toml"
    return path.read_text().split("\n", 2)[-1].strip() if path.exists() else ""


@MODES
def test_it_prints_what_was_measured_and_switches_with_yes(open_mode, call, data_dir, builds):
    with open_mode(data_dir):
        tried = call("models", "optimize", "paint")
        assert settings(data_dir) == ""
        switched = call("models", "optimize", "paint", "--yes")

    assert tried.code == switched.code == 0, tried.err
    assert tried.out.startswith(REPORT)
    assert "`easel models optimize paint --yes` switches to it." in tried.out
    assert "Memory of the denoiser: 57 MiB on torch, 121 MiB on openvino; 58 MiB on the disk." in tried.err
    assert "Largest difference between the images of 8 prompts (8 steps): 1 of 256 levels." in tried.err
    assert "paint runs on openvino, 1.5 times as fast as on torch." in switched.out
    assert 'backend = "openvino"' in settings(data_dir)
    assert len(builds.made) == 1


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_at_the_terminal_is_asked(call, data_dir, builds, monkeypatch, answer):
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return answer

    monkeypatch.setattr(install, "terminal_confirm", lambda: ask)
    result = call("models", "optimize", "paint", "--precision", "bf16")

    assert asked == ["Run paint on openvino from now on?"]
    assert ('dtype = "bfloat16"' in settings(data_dir)) is answer
    assert ("stays on torch" in result.out) is not answer


DOCUMENTED = replace(
    fixture.FASTER,
    backend_mb=180,
    speeds=tuple(
        fixture.RowSpeed(*one)
        for one in ((1, 0.065, 0.056), (2, 0.061, 0.0308), (4, 0.084, 0.0683), (8, 0.212, 0.1927))
    ),
)


def test_the_documented_output_is_what_it_prints(call, builds, monkeypatch):
    monkeypatch.setattr(optimize, "program_name", lambda: "easel")
    builds.report = DOCUMENTED
    result = call("models", "optimize", "paint")

    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    printed = [line for line in result.err.splitlines() if line.startswith(("Memory", "Largest"))]
    for line in (*result.out.splitlines(), *printed):
        assert line.replace("paint", "starter-image") in page


def test_the_hint_repeats_the_options(call, builds):
    out = call("models", "optimize", "paint", "--backend", "onnx", "--precision", "bfloat16").out

    assert "models optimize paint --backend onnx --precision bfloat16 --yes` switches to it." in out


def test_a_slower_build_asks_nothing(call, data_dir, builds, monkeypatch):
    builds.report = replace(fixture.FASTER, speeds=(fixture.RowSpeed(1, 0.1, 0.2),))
    monkeypatch.setattr(install, "terminal_confirm", lambda: lambda _: pytest.fail("asked"))
    result = call("models", "optimize", "paint", "--yes")

    assert result.code == 0
    assert "paint stays on torch: openvino is not better on this machine (0.5 times as fast)." in result.out
    assert settings(data_dir) == ""


def test_the_way_back(call, data_dir, builds):
    with serving(data_dir):
        call("models", "optimize", "paint", "--yes")
        back = call("models", "optimize", "paint", "--backend", "torch")
        deleted = call("models", "optimize", "paint", "--delete-builds")

    assert back.out == "paint runs on torch.\n"
    assert 'backend = "torch"' in settings(data_dir)
    assert deleted.out == "paint runs on torch; deleted 58 MiB that were compiled.\n"
    assert builds.stored == {}


@MODES
def test_a_refusal_is_one_sentence(open_mode, call, data_dir, builds):
    with open_mode(data_dir):
        unknown = call("models", "optimize", "paint", "--backend", "openvin")
        builds.error = ModelRefused("paint", "build", detail="the disk filled up while it was compiled")
        failed = call("models", "optimize", "paint")
        builds.installed = False
        missing = call("models", "optimize", "paint")

    assert (unknown.code, failed.code, missing.code) == (2, 1, 1)
    assert "Did you mean openvino?" in unknown.err
    assert failed.err.endswith("paint stays on torch: the disk filled up while it was compiled.\n")
    assert "openvino is not installed. `.venv/bin/uv pip install -e '.[openvino]'`" in missing.err


@pytest.mark.parametrize("optimization", [None, {"report": None}], ids=["installed", "back to torch"])
async def test_what_somebody_else_does_meanwhile_is_said(optimization):
    """The status is of the model's latest change."""
    status = {"name": "paint", "title": "Paint", "is_over": True, "error": "", "optimization": optimization}

    async def start(_name, _body):
        return status

    client = SimpleNamespace(start_optimize=start)
    with pytest.raises(
        Failure, match=r"Somebody else changed Paint meanwhile: `.* models optimize paint --backend onnx`"
    ):
        await optimize._optimize(client, optimize.OptimizeRequest(name="paint", backend="onnx"))


def test_as_json(call, builds):
    status = json.loads(call("models", "optimize", "paint", "--json").out)

    assert status["optimization"]["report"]["gain"] == 1.5
    assert status["optimization"]["is_applied"] is False
