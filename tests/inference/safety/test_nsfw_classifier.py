"""The classifier: a tiny ViT whose scores are set by its head, or which is unusable in some way."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from bot.errors import Blocked, ModelUnavailable
from bot.jobs import Media
from bot.models import IMAGE_CLASSIFICATION, IMAGE_TO_IMAGE, ModelSpec
from bot.ports import SafetyRules, TaskImage
from bot.safety import SafetySettings, classifier_specs
from inference.checkpoints.resolve import is_installed
from inference.ipc.messages import RawImage
from inference.safety.availability import ClassifierAvailability
from inference.safety.checker import SafetyChecker
from inference.safety.nsfw_classifier import NsfwClassifier
from tests.inference.support import make_model, make_task
from tests.inference.tiny import save_classifier
from training.draw import render_scene
from training.evaluate import held_out_of_kind

GREY = Image.new("RGB", (48, 32), "gray")
RULES = SafetyRules(policy="block", threshold=0.5)


def spec_of(folder):
    return ModelSpec(name="classifier", tasks=(IMAGE_CLASSIFICATION,), repo=str(folder))


def task_with(rules=RULES, **fields):
    return make_task(rules=rules, **fields)


def raw_image(**fields):
    return RawImage(**{"index": 0, "width": 4, "height": 2, "pixels": bytes(24), "seed": 7, **fields})


@pytest.mark.parametrize(("bias", "expected"), [((-5.0, 5.0), 0.99995), ((5.0, -5.0), 0.00005), ((0.0, 0.0), 0.5)])
def test_the_score_is_the_probability_of_the_adult_labels(tmp_path, bias, expected):
    score = NsfwClassifier(spec_of(save_classifier(tmp_path, bias=bias)))

    assert score(GREY) == pytest.approx(expected, abs=1e-4)


def test_several_adult_labels_are_summed(tmp_path):
    labels = ("drawings", "hentai", "neutral", "porn", "sexy")
    score = NsfwClassifier(spec_of(save_classifier(tmp_path, bias=(0.0,) * 5, labels=labels)))

    assert score(GREY) == pytest.approx(0.6)


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1"), ("cat", "nsfw"), ("nsfw", "porn"), ("normal", "safe")])
def test_unknown_labels_are_refused(tmp_path, labels):
    with pytest.raises(ModelUnavailable, match="its labels are"):
        NsfwClassifier(spec_of(save_classifier(tmp_path, labels=labels)))


def test_a_classifier_that_returns_nan_is_refused(tmp_path):
    with pytest.raises(ModelUnavailable, match="grey image"):
        NsfwClassifier(spec_of(save_classifier(tmp_path, bias=(float("nan"), 0.0))))


def test_pickled_weights_are_neither_found_nor_loaded(tmp_path):
    folder = save_classifier(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")

    assert not is_installed(spec_of(folder))
    with pytest.raises(ModelUnavailable, match="refused"):
        NsfwClassifier(spec_of(folder))


# ---------------------------------------------------------------- the child's checks


def make_checker(folder, load=NsfwClassifier):
    return SafetyChecker([spec_of(folder)] if folder else [], load)


def test_an_image_has_its_score_and_one_blanked_by_its_model_is_sexual(tmp_path):
    checker = make_checker(save_classifier(tmp_path, bias=(5.0, -5.0)))

    assert checker.load_for(make_model()) == "ready"
    assert checker.score_output(task_with(), raw_image()).nsfw < 0.01
    assert checker.score_output(task_with(), raw_image(nsfw=1.0)).nsfw == 1.0


def test_without_a_classifier_an_image_has_no_score(tmp_path):
    for checker in (make_checker(None), make_checker(tmp_path)):
        assert checker.load_for(make_model()) == "missing"
        assert checker.score_output(task_with(), raw_image()).nsfw is None
        assert checker.score_output(task_with(), raw_image(nsfw=1.0)).nsfw == 1.0


def test_a_classifier_that_is_installed_later_is_found(tmp_path):
    checker = make_checker(tmp_path)
    before = checker.load_for(make_model())
    save_classifier(tmp_path)

    assert (before, checker.load_for(make_model())) == ("missing", "ready")


def test_demo_models_text_models_and_tasks_without_rules_need_no_classifier(tmp_path):
    checker = make_checker(save_classifier(tmp_path), load=None)

    assert checker.load_for(make_model(demo=True)) == ""
    assert checker.load_for(make_model(tasks=("image-to-text",))) == ""
    assert checker.score_output(task_with(None), raw_image()) == raw_image()


@pytest.mark.parametrize("score", [float("nan"), 1.5, -0.1, RuntimeError("boom")])
def test_a_check_that_fails_ends_the_task(tmp_path, score):
    def scorer(_image):
        if isinstance(score, Exception):
            raise score
        return score

    checker = make_checker(save_classifier(tmp_path), load=lambda _spec: scorer)

    with pytest.raises(Blocked) as refused:
        checker.score_output(task_with(), raw_image())

    assert refused.value.reason == "unchecked"


def test_a_classifier_that_cannot_be_loaded_also_ends_an_admins_task(tmp_path):
    checker = make_checker(save_classifier(tmp_path, labels=("cat", "dog")))

    assert checker.load_for(make_model()) == "broken"
    with pytest.raises(Blocked):
        checker.score_output(task_with(replace(RULES, may_be_unchecked=True)), raw_image())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_input_images_are_checked(tmp_path, mode):
    out = io.BytesIO()
    Image.new(mode, (8, 8)).save(out, "PNG")
    image = TaskImage("init", Media(out.getvalue(), "image/png"))
    task = task_with(images=(image,), task=IMAGE_TO_IMAGE)
    adult = make_checker(save_classifier(tmp_path / "adult", bias=(-5.0, 5.0)))
    safe = make_checker(save_classifier(tmp_path / "safe", bias=(5.0, -5.0)))

    safe.check_inputs(task)
    adult.check_inputs(replace(task, rules=replace(RULES, policy="allow")))
    with pytest.raises(Blocked) as refused:
        adult.check_inputs(task)

    assert refused.value.reason == "picture"


def test_an_image_that_cannot_be_opened_is_blocked(tmp_path):
    broken = TaskImage("init", Media(b"not an image", "image/png"))

    with pytest.raises(Blocked):
        make_checker(save_classifier(tmp_path)).check_inputs(task_with(images=(broken,)))


async def test_availability_is_checked_again_after_a_while(tmp_path):
    now = [0.0]
    availability = ClassifierAvailability([spec_of(tmp_path)], clock=lambda: now[0])
    before = await availability.is_installed()
    save_classifier(tmp_path)
    immediately = await availability.is_installed()
    now[0] = 10.0

    assert (before, immediately, await availability.is_installed()) == (False, False, True)


async def test_without_a_repo_there_is_no_classifier():
    assert not await ClassifierAvailability(
        classifier_specs(SafetySettings(classifier="", second_classifier=""))
    ).is_installed()


# ---------------------------------------------------------------- the shipped classifier, and two of them

SHIPPED = Path(__file__).resolve().parents[3] / "models" / "starter-safety"


@pytest.fixture(scope="module")
def shipped():
    return NsfwClassifier(spec_of(SHIPPED))


@pytest.mark.parametrize("colour", ["gray", "black", "white", "red"])
def test_the_shipped_classifier_finds_nothing_in_plain_pictures(shipped, colour):
    assert shipped(Image.new("RGB", (128, 96), colour)) < 0.2


def test_the_shipped_classifier_finds_nothing_in_what_the_starters_draw(shipped):
    scores = [shipped(Image.fromarray(render_scene(scene))) for scene in held_out_of_kind("plain", 6)]

    assert max(scores) < 0.3


def test_the_shipped_classifier_has_the_labels_of_its_package(shipped):
    labels = shipped._model.config.id2label
    picture = Image.open(SHIPPED.parent / "sample.png").convert("RGB")
    with torch.inference_mode():
        probabilities = shipped._model(**shipped._processor(images=picture, return_tensors="pt")).logits[0].softmax(-1)

    assert [labels[number] for number in range(5)] == ["drawing", "hentai", "neutral", "porn", "sexy"]
    assert probabilities[[0, 2]].sum() > 0.9


def test_the_stricter_of_two_classifiers_counts(tmp_path):
    calm = spec_of(save_classifier(tmp_path / "calm", bias=(5.0, -5.0)))
    strict = replace(spec_of(save_classifier(tmp_path / "strict", bias=(0.0, 1.0))), name="second")

    for order in ([calm, strict], [strict, calm]):
        assert SafetyChecker(order, NsfwClassifier).score_output(task_with(), raw_image()).nsfw == pytest.approx(
            0.731, abs=1e-3
        )


def test_a_classifier_that_is_installed_later_is_loaded_with_the_next_model(tmp_path):
    first = spec_of(save_classifier(tmp_path / "first", bias=(5.0, -5.0)))
    later = replace(spec_of(tmp_path / "later"), name="later")
    checker = SafetyChecker([first, later], NsfwClassifier)
    checker.load_for(make_model())
    save_classifier(tmp_path / "later", bias=(-5.0, 5.0))

    checker.load_for(make_model())

    assert checker.score_output(task_with(), raw_image()).nsfw == pytest.approx(1, abs=0.01)


def test_images_are_not_shown_when_one_of_two_classifiers_is_broken(tmp_path):
    works = spec_of(save_classifier(tmp_path / "works", bias=(5.0, -5.0)))
    broken = replace(spec_of(save_classifier(tmp_path / "broken", labels=("cat", "dog"))), name="broken")

    checker = SafetyChecker([works, broken], NsfwClassifier)

    assert checker.load_for(make_model()) == "broken"
    with pytest.raises(Blocked):
        checker.score_output(task_with(), raw_image())
