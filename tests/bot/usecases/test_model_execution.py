"""What a model runs on, in words: by what it reported, by its settings and by the builds on the disk."""

from dataclasses import replace

import pytest

from bot.models import VISUAL_QUESTION_ANSWERING
from bot.ports import BuildState
from bot.usecases.model_execution import (
    advise_builds,
    describe_execution,
    execution_body,
    explain_problem,
    find_execution,
)
from tests.model_manager_fixture import FASTER, FOX

PLAIN = replace(FOX, enabled=True)
ON_OPENVINO = replace(PLAIN, backend="openvino")
ON_ONNX = replace(PLAIN, backend="onnx")
BUILD = BuildState(
    key="a" * 64, model="fox", backend="openvino", precision="float32", weights="none", size_mb=58, report=FASTER
)
HALF = replace(BUILD, precision="bfloat16", report=replace(FASTER, levels=7, precision="bfloat16"))
ON_TORCH = {"dtype": "float32", "backend": "torch"}


def find(spec, *states, installed=True, compiler=True, **reported):
    known = spec.with_capabilities(reported)
    return find_execution(known, states, lambda _: installed, has_compiler=lambda: compiler)


@pytest.mark.parametrize(
    ("execution", "sentence"),
    [
        (find(PLAIN), "Runs on torch."),
        (find(PLAIN, **ON_TORCH), "Runs on torch, float32."),
        (find(PLAIN, dtype="float32", attention="native"), "Runs on torch, float32."),
        (find(PLAIN, dtype="float32", pass_parts=2), "Runs on torch, float32, passes in 2 parts."),
        (find(PLAIN, dtype="bfloat16", attention="sdpa"), "Runs on torch, bfloat16."),
        (
            find(PLAIN, dtype="bfloat16", dtype_gain=1.64, dtype_levels=3),
            "Runs on torch, bfloat16, 1.6 times as fast as float32, at most 3 of 256 levels off.",
        ),
        (
            find(PLAIN, dtype="float16", attention="native_flash", compile=True),
            "Runs on torch, float16, attention by native_flash, compiled blocks.",
        ),
        (find(PLAIN, dtype="bfloat16", weights=["8bit"]), "Runs on torch, bfloat16, weights in 8bit."),
        (find(ON_OPENVINO, BUILD), "Runs on OpenVINO, float32, 1.5 times as fast as torch."),
        (find(ON_OPENVINO, replace(BUILD, report=None)), "Runs on OpenVINO, float32."),
        (
            find(replace(ON_OPENVINO, dtype="bf16"), BUILD, HALF),
            "Runs on OpenVINO, bfloat16, 1.5 times as fast as torch, at most 7 of 256 levels off.",
        ),
        (find(ON_ONNX, replace(BUILD, backend="onnx")), "Runs on ONNX Runtime, float32, 1.5 times as fast as torch."),
        (find(replace(PLAIN, dtype="fp16"), dtype="float32", backend="openvino"), "Runs on torch, float16."),
    ],
)
def test_what_runs_is_one_sentence(execution, sentence):
    assert describe_execution(execution) == sentence
    assert explain_problem(execution) == ""


@pytest.mark.parametrize(
    ("execution", "problem"),
    [
        (find(ON_OPENVINO), "Its OpenVINO build is missing: `easel models optimize fox` makes one."),
        (find(ON_OPENVINO, HALF), "Its OpenVINO build is missing"),
        (find(ON_OPENVINO, replace(BUILD, weights="8bit")), "Its OpenVINO build is missing"),
        (find(ON_OPENVINO, replace(BUILD, loras="ink:0.8")), "Its OpenVINO build is missing"),
        (find(ON_OPENVINO, replace(BUILD, model="owl")), "Its OpenVINO build is missing"),
        (find(ON_ONNX), "Its ONNX Runtime build is missing: `easel models optimize fox --backend onnx` makes one."),
        (
            find(ON_OPENVINO, BUILD, installed=False),
            "OpenVINO is not installed: `.venv/bin/uv pip install -e '.[openvino]'` in Easel's folder installs it.",
        ),
        (find(ON_OPENVINO, replace(BUILD, problem="library")), "OpenVINO has another version now"),
        (find(ON_OPENVINO, replace(BUILD, problem="processor")), "made for another processor"),
        (find(ON_OPENVINO, replace(BUILD, problem="weights")), "has other weights now"),
        (find(ON_OPENVINO, replace(BUILD, problem="damaged")), "build is damaged"),
        (find(ON_OPENVINO, backend_problem="not_built"), "build is missing"),
        (find(ON_OPENVINO, BUILD, backend_problem="not_built"), "its next load uses: `easel models unload`"),
        (find(ON_OPENVINO, BUILD, backend_problem="not_installed"), "its next load uses"),
        (find(ON_OPENVINO, BUILD, backend_problem="damaged"), "`easel models optimize fox --delete-builds` deletes it"),
        (find(ON_OPENVINO, BUILD, backend_problem="refused"), "lacks the number format or the providers"),
        (find(replace(ON_OPENVINO, quantize="4bit"), BUILD), "lacks the number format"),
        (find(ON_OPENVINO, BUILD, backend_problem="failed"), "failed while it ran"),
        (find(ON_OPENVINO, BUILD, backend_problem="unsupported"), "has no form for OpenVINO"),
        (find(ON_OPENVINO, backend_problem="not_here"), "`easel models optimize fox --backend torch` switches back."),
        (
            find(replace(ON_OPENVINO, tasks=(VISUAL_QUESTION_ANSWERING,))),
            "Only models that make pictures in steps run on OpenVINO: remove `backend` from its table.",
        ),
    ],
)
def test_what_does_not_run_is_named_with_what_to_do(execution, problem):
    assert problem in explain_problem(execution)
    assert execution.backend == "torch"
    assert describe_execution(execution).startswith("Runs on torch")


@pytest.mark.parametrize(
    ("setting", "compiler", "reported", "problem"),
    [
        ("on", False, "", "needs a C++ compiler"),
        ("on", True, "no_compiler", ""),
        ("on", True, "streamed", "memory is short"),
        ("on", True, "unheard_of", ""),
        ("auto", True, "failed", "torch.compile failed"),
        ("auto", False, "", ""),
        ("off", False, "failed", ""),
    ],
)
def test_a_model_that_runs_uncompiled_says_why(setting, compiler, reported, problem):
    execution = find(replace(PLAIN, compile=setting), compiler=compiler, compile_problem=reported)

    assert problem in explain_problem(execution)
    assert bool(explain_problem(execution)) is bool(problem)


def test_a_faster_build_is_recommended_and_one_without_use_is_named():
    assert advise_builds(find(PLAIN)) == ""
    assert advise_builds(find(ON_OPENVINO, BUILD)) == ""
    assert advise_builds(find(PLAIN, BUILD)) == (
        "It would be faster on OpenVINO (measured on this machine: 1.5 times): "
        "`easel models optimize fox --yes` switches to it."
    )
    assert "fox --backend onnx --precision bfloat16 --weights 8bit --yes`" in advise_builds(
        find(PLAIN, replace(HALF, backend="onnx", weights="8bit"))
    )
    assert advise_builds(find(PLAIN, replace(BUILD, problem="library"))) == (
        "What was compiled for it is not used: `easel models optimize fox --delete-builds` deletes it."
    )


def test_programs_get_the_facts_and_the_sentences():
    body = execution_body(find(ON_OPENVINO, BUILD, replace(HALF, size_mb=30)))

    assert body == {
        "backend": "openvino", "dtype": "float32", "weights": [], "gain": 1.5, "levels": 1, "pass_parts": 1,
        "attention": "", "is_compiled": False, "builds_mb": 88,
        "sentence": "Runs on OpenVINO, float32, 1.5 times as fast as torch.", "problem": "",
    }  # fmt: skip
