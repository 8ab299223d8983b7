"""Image-text matching: Transformers' own scores, ranked; and embeddings in the shared space."""

import dataclasses

import pytest
import torch
from PIL import Image

from bot.error_texts import NO_TEXT_FITS
from bot.errors import EngineError, ModelUnavailable
from bot.jobs import Media
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION
from bot.ports import TaskImage
from inference.engine.base import StepDone, TaskDone, build_engine
from inference.vision.itm import similarity
from inference.vision.match_answer import format_answer
from inference.vision.match_engine import MatchEngine
from tests.inference.support import make_model, make_task, png
from tests.inference.vision_reference import run_task
from training.draw import render_scene
from training.evaluate import held_out_of_kind
from training.scenes import PLAIN

TASKS = (ZERO_SHOT_IMAGE_CLASSIFICATION,)


@pytest.fixture(scope="module")
def engine():
    torch.set_num_threads(1)
    engine = build_engine(make_model("starter-match", tasks=TASKS, repo="models/starter-match", demo=True))
    engine.load_model("cpu")
    yield engine
    engine.unload_model()


@pytest.fixture(scope="module")
def scenes():
    """Scenes held out from all training."""
    return held_out_of_kind(PLAIN, 300)[::30]


def image_of(scene):
    return Media(png(Image.fromarray(render_scene(scene))), "image/png")


def make_request(scene, texts, id="job"):
    return make_task(
        "",
        id=id,
        command="match",
        task=ZERO_SHOT_IMAGE_CLASSIFICATION,
        options={"texts": " | ".join(texts)},
        images=(TaskImage("init", image_of(scene)),),
    )


def lines_of(engine, task):
    return run_task(engine, task)[-1].result.text.splitlines()


def test_the_right_caption_comes_first(engine, scenes):
    captions = [scene.caption for scene in scenes]

    firsts = [lines_of(engine, make_request(scene, captions))[0] for scene in scenes]

    assert [line.partition(" % ")[2] for line in firsts] == captions
    assert all(float(line.partition(" % ")[0]) > 50 for line in firsts)


def test_the_scores_equal_those_of_transformers(engine, scenes):
    texts = [scene.caption for scene in scenes[:3]] + ["a fox"]
    image = Image.fromarray(render_scene(scenes[1]))
    inputs = engine._processor(images=image, text=texts, padding="longest", return_tensors="pt")
    with torch.no_grad():
        similarities = engine._blip(**inputs).logits_per_image[0]
        pairs = dict(inputs) | {"pixel_values": inputs["pixel_values"].expand(4, -1, -1, -1)}
        probabilities = engine._blip(**pairs, use_image_text_matching_head=True).logits_per_image.softmax(-1)[:, 1]
        patches, image_embeds = engine._matcher.encode_images(inputs["pixel_values"])

        torch.testing.assert_close(
            engine._matcher.match_logits(patches.expand(4, -1, -1), texts).sigmoid(), probabilities
        )
        torch.testing.assert_close(similarity(image_embeds, engine._matcher.embed_texts(texts))[0], similarities)


def test_embeddings_of_images_and_texts_have_length_one_in_a_shared_space(engine, scenes):
    images = engine.embed_images([image_of(scene) for scene in scenes])
    texts = engine.embed_texts([scene.caption for scene in scenes])

    assert images.shape == (10, engine._blip.config.num_query_tokens, 96)
    assert texts.shape == (10, 96)
    torch.testing.assert_close(images.norm(dim=-1), torch.ones(images.shape[:2]))
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(10))
    assert similarity(images, texts).argmax(dim=1).tolist() == list(range(10))


def test_tasks_that_share_a_step_get_the_same_ranking_as_alone(engine, scenes):
    captions = [scene.caption for scene in scenes[:6]]
    tasks = [make_request(scenes[n], captions[: n + 1], id=f"job-{n}") for n in range(MatchEngine.tasks_per_pass + 1)]
    alone = {task.id: lines_of(engine, task) for task in tasks}
    engine.take_usage()
    for task in tasks:
        engine.add_task(task)
    engine.cancel_task("job-1")

    assert engine.free_slots == MatchEngine.max_tasks - MatchEngine.tasks_per_pass
    events = engine.step()
    assert {event.task_id for event in events} == {"job-0", "job-2", "job-3", "job-4"}
    assert [(event.step, event.steps) for event in events if isinstance(event, StepDone)] == [
        (1, 1)
    ] * MatchEngine.tasks_per_pass
    batched = {event.task_id: event.result.text.splitlines() for event in events if isinstance(event, TaskDone)}
    assert batched == {task_id: lines for task_id, lines in alone.items() if task_id != "job-1"}
    assert engine.step() == []
    assert set(engine.take_usage()) == {task.id for task in tasks}


def test_the_features_of_an_image_are_reused(engine, scenes, monkeypatch):
    first = lines_of(engine, make_request(scenes[0], ["a fox"]))
    monkeypatch.setattr(engine._image_encoder, "_encode", None)

    assert lines_of(engine, make_request(scenes[0], ["a fox"])) == first


def test_a_text_beyond_the_models_maximum_length_is_truncated(engine, scenes):
    assert len(lines_of(engine, make_request(scenes[0], ["fox " * 200]))) == 1


def test_unknown_words_are_listed_by_a_demo_model(engine, scenes):
    done = run_task(engine, make_request(scenes[0], ["a xylograph"]))[-1]

    assert "xylograph" in done.result.notes[0]


def test_a_task_without_an_image_is_refused(engine, scenes):
    with pytest.raises(EngineError):
        engine.add_task(dataclasses.replace(make_request(scenes[0], ["a fox"]), images=()))

    assert engine.free_slots == MatchEngine.max_tasks


@pytest.mark.parametrize(
    ("scores", "similarities", "lines"),
    [
        ([0.99996, 0.99999], [0.80, 0.80], ["50 % b", "50 % a"]),
        ([2e-8, 6e-8], [0.10, 0.10], ["62 % b", "38 % a"]),
        ([0.97, 0.0028], [0.98, 0.81], ["96 % a", "4 % b"]),
        ([0.0, 0.0], [0.20, 0.10], ["65 % a", "35 % b"]),
        ([1.0, 0.0], [0.98, 0.20], ["100 % a", "0 % b"]),
    ],
    ids=["all fit", "none fits", "a part", "underflow", "one fits"],
)
def test_several_texts_get_shares_that_compare_them(scores, similarities, lines):
    for is_calibrated in (True, False):
        assert format_answer(["a", "b"], scores, similarities, is_calibrated=is_calibrated).splitlines() == lines


@pytest.mark.parametrize(
    ("score", "calibrated", "demo"),
    [(0.97, "fits", "fits"), (0.2, "unclear", "unclear"), (0.0001, "does not fit", "unclear")],
)
def test_one_text_gets_a_verdict_only_as_sure_as_the_model_is(score, calibrated, demo):
    assert format_answer(["a"], [score], [0.2]) == f"{calibrated}: a"
    assert format_answer(["a"], [score], [0.2], is_calibrated=False) == f"{demo}: a"


@pytest.mark.parametrize(("demo", "notes"), [(False, (NO_TEXT_FITS,)), (True, ())])
def test_a_note_says_when_no_text_fits(engine, scenes, monkeypatch, demo, notes):
    monkeypatch.setattr(engine, "_model", dataclasses.replace(engine._model, demo=demo))
    wrong = make_request(scenes[0], ["a mountain", "a fox"])
    right = make_request(scenes[0], [scenes[0].caption, "a fox"])

    assert run_task(engine, wrong)[-1].result.notes == notes
    assert run_task(engine, right)[-1].result.notes == ()


def test_the_colors_under_transparent_pixels_do_not_count(engine, scenes):
    pictures = [Image.new("RGBA", (32, 32), colour) for colour in ("white", (0, 0, 0, 0), (30, 60, 230, 0))]

    embeddings = engine.embed_images([Media(png(picture), "image/png") for picture in pictures])

    assert torch.equal(embeddings[1], embeddings[0])
    assert torch.equal(embeddings[2], embeddings[0])


def test_a_captioning_model_cannot_match():
    engine = build_engine(make_model(tasks=TASKS, repo="models/starter-vision"))

    with pytest.raises(ModelUnavailable, match="lack"):
        engine.load_model("cpu")
