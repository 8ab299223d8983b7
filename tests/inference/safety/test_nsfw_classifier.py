"""The classifier: a tiny ViT whose head says what it is told to, or is wrong in some way."""

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from bot.errors import Blocked, ModelUnavailable
from bot.jobs import Media
from bot.models import IMAGE_CLASSIFICATION, IMAGE_TO_IMAGE, ModelSpec
from bot.ports import Rules, TaskImage
from bot.safety import SafetySettings, classifier_of
from inference.ipc.messages import RawPicture
from inference.safety.checker import Checker, ClassifierFiles, is_here
from inference.safety.nsfw_classifier import NsfwClassifier
from tests.inference.support import make_model, make_task

LABELS = ("normal", "nsfw")
GREY = Image.new("RGB", (48, 32), "gray")
RULES = Rules(policy="block", threshold=0.5)


def save_classifier(folder, *, bias=(0.0, 0.0), labels=LABELS):
    """`bias`: of the head, one for each label; its other weights are 0, so every picture scores the same."""
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=16, patch_size=8, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)},
    )  # fmt: skip
    model = ViTForImageClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor(bias))
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


def spec_of(folder):
    return ModelSpec(name="classifier", tasks=(IMAGE_CLASSIFICATION,), repo=str(folder))


def task_with(rules=RULES, **more):
    return make_task(rules=rules, **more)


def raw(**more):
    return RawPicture(**{"index": 0, "width": 4, "height": 2, "pixels": bytes(24), "seed": 7, **more})


@pytest.mark.parametrize(("bias", "expected"), [((-5.0, 5.0), 0.99995), ((5.0, -5.0), 0.00005), ((0.0, 0.0), 0.5)])
def test_the_score_is_the_chance_of_the_adult_labels(tmp_path, bias, expected):
    score = NsfwClassifier(spec_of(save_classifier(tmp_path, bias=bias)))

    assert score(GREY) == pytest.approx(expected, abs=1e-4)


def test_several_adult_labels_count_together(tmp_path):
    labels = ("drawings", "hentai", "neutral", "porn", "sexy")
    score = NsfwClassifier(spec_of(save_classifier(tmp_path, bias=(0.0,) * 5, labels=labels)))

    assert score(GREY) == pytest.approx(0.6)


@pytest.mark.parametrize("labels", [("LABEL_0", "LABEL_1"), ("cat", "nsfw"), ("nsfw", "porn"), ("normal", "safe")])
def test_unknown_labels_are_refused(tmp_path, labels):
    with pytest.raises(ModelUnavailable, match="its labels are"):
        NsfwClassifier(spec_of(save_classifier(tmp_path, labels=labels)))


def test_a_classifier_that_gives_no_number_is_refused(tmp_path):
    with pytest.raises(ModelUnavailable, match="grey picture"):
        NsfwClassifier(spec_of(save_classifier(tmp_path, bias=(float("nan"), 0.0))))


def test_pickled_weights_are_neither_found_nor_loaded(tmp_path):
    folder = save_classifier(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")

    assert not is_here(spec_of(folder))
    with pytest.raises(ModelUnavailable, match="refused"):
        NsfwClassifier(spec_of(folder))


# ---------------------------------------------------------------- looking, in a child


def checker_of(folder, load=NsfwClassifier):
    return Checker(spec_of(folder) if folder else None, load)


def test_a_picture_gets_its_score_and_what_its_model_blanked_is_sexual(tmp_path):
    checker = checker_of(save_classifier(tmp_path, bias=(5.0, -5.0)))

    assert checker.prepare(make_model()) == "ready"
    assert checker.checked(task_with(), raw()).nsfw < 0.01
    assert checker.checked(task_with(), raw(nsfw=1.0)).nsfw == 1.0


def test_without_a_classifier_a_picture_has_no_score(tmp_path):
    for checker in (checker_of(None), checker_of(tmp_path)):
        assert checker.prepare(make_model()) == "missing"
        assert checker.checked(task_with(), raw()).nsfw is None
        assert checker.checked(task_with(), raw(nsfw=1.0)).nsfw == 1.0


def test_a_classifier_that_comes_later_is_found(tmp_path):
    checker = checker_of(tmp_path)
    before = checker.prepare(make_model())
    save_classifier(tmp_path)

    assert (before, checker.prepare(make_model())) == ("missing", "ready")


def test_demo_models_text_models_and_tasks_without_rules_need_none(tmp_path):
    checker = checker_of(save_classifier(tmp_path), load=None)

    assert checker.prepare(make_model(demo=True)) == ""
    assert checker.prepare(make_model(tasks=("image-to-text",))) == ""
    assert checker.checked(task_with(None), raw()) == raw()


@pytest.mark.parametrize("score", [float("nan"), 1.5, -0.1, RuntimeError("boom")])
def test_a_check_that_fails_ends_the_task(tmp_path, score):
    def scores(_image):
        if isinstance(score, Exception):
            raise score
        return score

    checker = checker_of(save_classifier(tmp_path), load=lambda _spec: scores)

    with pytest.raises(Blocked) as refused:
        checker.checked(task_with(), raw())

    assert refused.value.reason == "unchecked"


def test_a_classifier_that_cannot_be_loaded_ends_the_task_of_an_admin_too(tmp_path):
    checker = checker_of(save_classifier(tmp_path, labels=("cat", "dog")))

    assert checker.prepare(make_model()) == "broken"
    with pytest.raises(Blocked):
        checker.checked(task_with(replace(RULES, may_be_unchecked=True)), raw())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_pictures_to_start_from_are_looked_at(tmp_path, mode):
    out = io.BytesIO()
    Image.new(mode, (8, 8)).save(out, "PNG")
    image = TaskImage("init", Media(out.getvalue(), "image/png"))
    task = task_with(images=(image,), task=IMAGE_TO_IMAGE)
    adult = checker_of(save_classifier(tmp_path / "adult", bias=(-5.0, 5.0)))
    calm = checker_of(save_classifier(tmp_path / "calm", bias=(5.0, -5.0)))

    calm.look_at_inputs(task)
    adult.look_at_inputs(replace(task, rules=replace(RULES, policy="allow")))
    with pytest.raises(Blocked) as refused:
        adult.look_at_inputs(task)

    assert refused.value.reason == "picture"


def test_a_picture_that_cannot_be_opened_blocks(tmp_path):
    broken = TaskImage("init", Media(b"no picture", "image/png"))

    with pytest.raises(Blocked):
        checker_of(save_classifier(tmp_path)).look_at_inputs(task_with(images=(broken,)))


async def test_the_files_are_looked_for_again_after_a_while(tmp_path):
    now = [0.0]
    files = ClassifierFiles(spec_of(tmp_path), now=lambda: now[0])
    before = await files.is_here()
    save_classifier(tmp_path)
    at_once = await files.is_here()
    now[0] = 10.0

    assert (before, at_once, await files.is_here()) == (False, False, True)


async def test_no_name_is_no_classifier():
    assert not await ClassifierFiles(classifier_of(SafetySettings(classifier=""))).is_here()
