"""What `doctor` foresees."""

from dataclasses import replace

import pytest

from adapters.cli.doctor import preflight
from adapters.cli.doctor.check import BAD, OK, WARN
from bot.models import Models
from bot.safety import SafetySettings
from tests.cli.app_fixture import TestComposition
from tests.model_manager_fixture import FOX

CPU = {"name": "cpu", "kind": "cpu", "title": "CPU", "memory_mb": 16000}
CARD = {"name": "cuda:0", "kind": "cuda", "title": "RTX", "memory_mb": 8000, "bfloat16": True}
BIG = replace(FOX, name="big", enabled=True, memory_mb=20000, offload_mb=6000, ram_mb=1000)


@pytest.fixture
def foresee(data_dir, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(preflight, "NVIDIA", ())
    monkeypatch.setattr(preflight, "AMD", ())
    monkeypatch.setattr(preflight.shutil, "which", lambda name: None)

    def foreseeing(*specs, devices=(CPU,), **settings):
        composition = TestComposition(data_dir)
        composition.settings.update(settings)
        loaded = replace(composition.load(None), models=Models({spec.name: spec for spec in specs}))
        return [(check.mark, check.sentence) for check in preflight.predictions(loaded, devices)]

    return foreseeing


def one(found, words):
    (sentence,) = [(mark, sentence) for mark, sentence in found if words in sentence]
    return sentence


def test_a_model_that_is_too_large_is_bad(foresee):
    mark, sentence = one(foresee(replace(BIG, offload_mb=0), devices=(CARD, CPU)), "big does not fit")

    assert mark == BAD
    assert "it needs 20.1 GiB on the device" in sentence
    assert "setup` shows what fits" in sentence


def test_parts_that_come_and_go_are_told(foresee):
    assert one(foresee(BIG, devices=(CARD, CPU)), "big fits. Its text encoder passes through the device")[0] == OK


def test_weights_that_pass_through_the_device_at_every_step_are_a_warning(foresee):
    small = {**CARD, "memory_mb": 3000}

    assert one(foresee(BIG, devices=(small, CPU)), "at every step")[0] == WARN


def test_what_fits_is_no_line(foresee):
    assert not [line for line in foresee(replace(BIG, memory_mb=100), devices=(CARD, CPU)) if "big" in line[1]]


def test_bfloat16_on_an_old_card_is_a_warning(foresee):
    found = foresee(replace(BIG, dtype="bfloat16"), devices=({**CARD, "bfloat16": False}, CPU))

    assert one(found, "imitates")[0] == WARN
    assert not [line for line in foresee(replace(BIG, dtype="bfloat16"), devices=(CARD, CPU)) if "imitates" in line[1]]


@pytest.mark.parametrize(("name", "words"), [("NVIDIA", "NVIDIA driver"), ("AMD", "AMD card")])
def test_a_card_that_torch_does_not_use_is_a_warning(foresee, monkeypatch, tmp_path, name, words):
    (tmp_path / "sign").touch()
    monkeypatch.setattr(preflight, name, (str(tmp_path / "sign"),))

    mark, sentence = one(foresee(), words)
    assert mark == WARN
    assert "UV_TORCH_BACKEND=auto python3 scripts/install.py" in sentence
    assert not [line for line in foresee(devices=(CARD, CPU)) if words in line[1]]


def test_a_disk_that_is_nearly_full_is_a_warning(foresee, monkeypatch):
    monkeypatch.setattr(preflight, "LOW_DISK_MB", 10**12)

    assert one(foresee(), "HF_HOME moves it")[0] == WARN


def test_offline_and_missing_is_bad(foresee, monkeypatch):
    assert not [line for line in foresee(BIG) if "OFFLINE" in line[1]]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    assert one(foresee(BIG), "big cannot be fetched")[0] == BAD


def test_real_models_without_the_classifier_draw_for_admins_only(foresee, tmp_path):
    safety = SafetySettings()
    mark, sentence = one(foresee(BIG, safety=safety), "for admins only")
    assert mark == WARN
    assert "models use big` fetches it" in sentence
    assert not [line for line in foresee(replace(BIG, demo=True), safety=safety) if "admins" in line[1]]
