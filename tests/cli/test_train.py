"""`easel train`: the same with and without a running server."""

import json
import re
from contextlib import nullcontext
from dataclasses import replace

import pytest

from bot.errors import TrainingRefused
from bot.ports import Score
from bot.usecases.training_orders import report_body
from bot.usecases.training_views import explain_rejection
from tests.cli.app_fixture import serving
from tests.training_fixture import DULL, FORGETFUL, GOOD, FakeTrainer


@pytest.fixture
def trainer(monkeypatch):
    fake = FakeTrainer()
    monkeypatch.setattr("composition.learning.TrainerClient", lambda _threads: fake)
    return fake


@pytest.fixture
def glyphs(folder):
    (folder / "glyphs").mkdir()
    return folder / "glyphs"


@pytest.mark.parametrize("open_mode", [nullcontext, serving], ids=["local", "server"])
def test_a_training_ends_with_its_report_card_and_switched_on(open_mode, call, data_dir, trainer, glyphs):
    with open_mode(data_dir):
        result = call("train", "vision", "glyphs", "--steps", "10", "--replay", "none")
        listed = call("train", "list")
        shown = call("train", "show", "glyphs")

    assert result.code == 0
    assert "glyphs is switched on for look." in result.out
    assert "18 of 20" in result.out
    assert "a lynx" in result.out
    assert "accepted" in listed.out
    assert "glyphs, for look: accepted." in shown.out
    (request,) = trainer.requests
    assert (request.folder, request.steps, request.replay) == (str(glyphs), 10, "none")


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (FORGETFUL, "Old answers fell by 3.0 points; less than 2 are allowed."),
        (DULL, "New answers changed by +15 points; a rise of 20 is needed."),
    ],
)
def test_one_that_failed_its_test_stays_off_and_says_why(call, trainer, glyphs, report, reason):
    trainer.report = report

    result = call("train", "vision", "glyphs")
    shown = call("train", "show", "glyphs")

    assert result.code == 1
    assert f"glyphs stays off. {reason}" in result.out
    assert f"rejected. {reason}" in shown.out


@pytest.mark.parametrize(
    ("kind", "right", "reason"),
    [
        ("vision", 1_996, "New answers changed by +19.9 points; a rise of 20 is needed."),
        ("image", 500, "New pictures changed by +5 points; a rise of 20 is needed."),
    ],
)
def test_a_shortfall_is_never_rounded_up_and_names_what_was_tested(kind, right, reason):
    report = replace(DULL, kind=kind, new_after=Score(right, 10_000), new_before=Score(0, 10_000))

    assert explain_rejection(report_body(report)) == reason


def test_a_training_that_failed_in_the_background_is_listed_with_its_reason(call, data_dir, trainer, glyphs):
    trainer.error = TrainingRefused("disk_full")
    with serving(data_dir):
        call("train", "vision", "glyphs")
        listed, shown = call("train", "list"), call("train", "show", "glyphs")

    assert "glyphs: The disk is full." in listed.out
    assert (shown.code, shown.out.startswith("glyphs: The disk is full.")) == (0, True)


def test_a_caption_in_a_report_card_is_named(call, trainer, glyphs):
    trainer.report = replace(GOOD, examples=(replace(GOOD.examples[0], question=""),))

    assert re.search(r"1\.png +caption +a lynx", call("train", "vision", "glyphs").out)


def test_an_image_adapter_is_named_in_prompts(call, trainer, glyphs):
    result = call("train", "image", "glyphs", "--words", "a zorp", "--name", "zorp")

    assert (result.code, result.out.splitlines()[-1]) == (0, "zorp is ready: use it in prompts as <lora:zorp:1>.")
    assert trainer.requests[0].words == "a zorp"


def test_everything_as_json(call, trainer, glyphs):
    result = json.loads(call("train", "vision", "glyphs", "--json").out)
    listed = json.loads(call("train", "list", "--json").out)
    shown = json.loads(call("train", "show", "glyphs", "--json").out)

    assert (result["state"], result["report"]["is_accepted"]) == ("done", True)
    assert [one["name"] for one in listed["adapters"]] == ["glyphs"]
    assert shown["report"]["gain"] == 90.0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["vision"], "Name a folder with examples"),
        (["vision", "nowhere"], "is not a folder that Easel can read"),
        (["vision", "glyphs", "--model", "paint"], "paint cannot learn that"),
        (["vision", "glyphs", "--name", "Lynx!"], "is not a valid adapter name"),
        (["show", "nobody"], "There is no adapter nobody"),
        (["cancel", "nobody"], "nobody"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(call, trainer, glyphs, words, sentence):
    result = call("train", *words)

    assert result.code in (1, 2)
    assert sentence in result.err
    assert "Traceback" not in result.err
    assert trainer.requests == []


def test_a_refusal_of_the_trainer_is_its_sentence(call, trainer, glyphs):
    trainer.error = TrainingRefused("disk_full")

    result = call("train", "vision", "glyphs")

    assert (result.code, result.out) == (1, "")
    assert "The disk is full." in result.err


def test_before_the_first_training_the_list_says_how_to_train(call, trainer):
    assert "train vision FOLDER" in call("train", "list").out


@pytest.mark.parametrize("option", [["--steps", "-1"], ["--seed", "-1"], ["--seed", "99999999999999999999"]])
def test_numbers_out_of_range_are_refused(call, trainer, glyphs, option):
    result = call("train", "vision", "glyphs", *option)

    assert result.code == 2
    assert option[0] in result.err
    assert trainer.requests == []


def test_a_replacement_that_fails_its_test_shows_its_report_card_and_leaves_the_one_before(call, trainer, glyphs):
    call("train", "vision", "glyphs")
    trainer.report = FORGETFUL
    result = call("train", "vision", "glyphs", "--replace")
    listed = call("train", "list")

    assert result.code == 1
    assert "96 of 100" in result.out
    assert "the one before stays as it is" in result.err
    assert "accepted" in listed.out
