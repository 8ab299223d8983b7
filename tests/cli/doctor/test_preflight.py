"""The preflight checks of `doctor`."""

from dataclasses import replace

import pytest

from adapters.cli.doctor import preflight
from adapters.cli.doctor.check import BAD, OK, WARN
from bot.models import ModelRegistry
from bot.safety import SafetySettings
from composition.settings import shipped_models
from tests.cli.app_fixture import TestComposition
from tests.model_manager_fixture import FOX

CPU = {"name": "cpu", "kind": "cpu", "title": "CPU", "memory_mb": 16000}
CARD = {"name": "cuda:0", "kind": "cuda", "title": "RTX", "memory_mb": 8000, "bfloat16": True}
BIG = replace(FOX, name="big", enabled=True, memory_mb=20000, offload_mb=6000, ram_mb=1000)


@pytest.fixture
def preflight_results(data_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(preflight, "NVIDIA_DRIVER_FILES", ())
    monkeypatch.setattr(preflight, "AMD_DRIVER_FILES", ())
    monkeypatch.setattr(preflight.shutil, "which", lambda name: None)

    def run_checks(*specs, devices=(CPU,), **settings):
        composition = TestComposition(data_dir)
        composition.settings.update(settings)
        loaded = replace(composition.load(None), models=ModelRegistry({spec.name: spec for spec in specs}))
        return [(check.mark, check.sentence) for check in preflight.preflight_checks(loaded, devices)]

    return run_checks


def find_result(results, words):
    (result,) = [(mark, sentence) for mark, sentence in results if words in sentence]
    return result


def test_a_model_that_is_too_large_is_bad(preflight_results):
    mark, sentence = find_result(preflight_results(replace(BIG, offload_mb=0), devices=(CARD, CPU)), "big does not fit")

    assert mark == BAD
    assert "it needs 20.1 GiB on the device" in sentence
    assert "setup` lists models that fit" in sentence


def test_offloaded_components_are_mentioned(preflight_results):
    assert (
        find_result(
            preflight_results(BIG, devices=(CARD, CPU)), "big fits. Its text encoder is streamed through the device"
        )[0]
        == OK
    )


def test_offloading_at_every_step_is_a_warning(preflight_results):
    small = {**CARD, "memory_mb": 3000}

    assert find_result(preflight_results(BIG, devices=(small, CPU)), "at every step")[0] == WARN


def test_a_model_that_fits_is_not_mentioned(preflight_results):
    assert not [
        line for line in preflight_results(replace(BIG, memory_mb=100), devices=(CARD, CPU)) if "big" in line[1]
    ]


def test_what_an_offloaded_model_needs_is_said_with_numbers(preflight_results):
    klein = replace(shipped_models()["flux2-klein-4b"], enabled=True)
    card = {**CARD, "memory_mb": 8192}
    found = preflight_results(replace(klein, quantize="none"), devices=(card, CPU))

    assert find_result(found, "Memory:")[1].startswith("flux2-klein-4b: Memory: ")


def test_a_format_that_cannot_be_loaded_is_bad(preflight_results):
    mark, sentence = find_result(
        preflight_results(replace(BIG, quantize="4bit"), devices=(CARD, CPU)), "cannot be loaded"
    )

    assert mark == BAD
    assert "add a .gguf file" in sentence


def test_bfloat16_on_an_old_card_is_a_warning(preflight_results):
    found = preflight_results(replace(BIG, dtype="bfloat16"), devices=({**CARD, "bfloat16": False}, CPU))

    assert find_result(found, "emulates")[0] == WARN
    assert not [
        line for line in preflight_results(replace(BIG, dtype="bfloat16"), devices=(CARD, CPU)) if "emulates" in line[1]
    ]


@pytest.mark.parametrize(("name", "words"), [("NVIDIA_DRIVER_FILES", "NVIDIA driver"), ("AMD_DRIVER_FILES", "AMD GPU")])
def test_a_gpu_that_torch_does_not_use_is_a_warning(preflight_results, monkeypatch, tmp_path, name, words):
    (tmp_path / "sign").touch()
    monkeypatch.setattr(preflight, name, (str(tmp_path / "sign"),))

    mark, sentence = find_result(preflight_results(), words)
    assert mark == WARN
    assert "UV_TORCH_BACKEND=auto python3 scripts/install.py" in sentence
    assert not [line for line in preflight_results(devices=(CARD, CPU)) if words in line[1]]


def test_a_disk_that_is_nearly_full_is_a_warning(preflight_results, monkeypatch):
    monkeypatch.setattr(preflight, "LOW_DISK_MB", 10**12)

    assert find_result(preflight_results(), "HF_HOME moves the cache")[0] == WARN


def test_offline_and_missing_is_bad(preflight_results, monkeypatch):
    assert not [line for line in preflight_results(BIG) if "OFFLINE" in line[1]]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    assert find_result(preflight_results(BIG), "big cannot be downloaded")[0] == BAD


def test_real_models_without_the_classifier_are_for_admins_only(preflight_results, tmp_path):
    safety = SafetySettings()
    mark, sentence = find_result(preflight_results(BIG, safety=safety), "for admins only")
    assert mark == WARN
    assert "models use big` installs it" in sentence
    assert not [line for line in preflight_results(replace(BIG, demo=True), safety=safety) if "admins" in line[1]]
