"""`doctor` says what confines the process that decodes images, and what does not."""

import subprocess

import pytest

from adapters.cli.doctor import hardening
from composition.local import Composition
from tests.cli.app_fixture import CONFINED


@pytest.fixture
def check(composition, monkeypatch):
    """The results as (mark, sentence), given what the machine lacks."""

    def run(platform="linux", **missing):
        composition.sandbox = CONFINED | missing
        monkeypatch.setattr("sys.platform", platform)
        return [(one.mark, one.sentence) for one in hardening.check_image_sandbox(composition)]

    return run


def test_everything_that_is_active_is_named(check):
    [(mark, sentence)] = check()

    assert mark == "ok"
    for name in ("no_new_privs", "Landlock", "no capabilities", "limits on files and processes", "seccomp"):
        assert name in sentence


def test_what_is_not_active_is_named_with_the_reason(check):
    (_, active), (mark, sentence) = check(landlock="Function not implemented")

    assert "Landlock" not in active
    assert mark == "warn"
    assert "without Landlock (Function not implemented)" in sentence


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_get_one_sentence(check, platform):
    only = "only Linux has it"
    results = check(platform, no_new_privs=only, landlock=only, capabilities=only, seccomp=only)

    assert [mark for mark, _ in results] == ["ok", "warn"]
    assert "Only Linux" in results[-1][1]


@pytest.mark.usefixtures("composition")
def test_doctor_shows_it(call):
    result = call("doctor")

    assert "Images are decoded in a process with no_new_privs, Landlock" in result.out


def test_a_process_that_cannot_be_tried_is_one_bad_line(call, composition):
    composition.failures["probe_sandbox"] = subprocess.TimeoutExpired("python", 30)

    result = call("doctor")

    assert any("TimeoutExpired" in line for line in result.out.splitlines() if line.strip().startswith("bad"))


@pytest.mark.process
def test_the_measures_are_tried_in_a_real_process():
    assert set(Composition().probe_sandbox()) == set(CONFINED)
