"""Matching: the library's own scores, ranked; and embeddings that pictures and texts share."""

import dataclasses

import pytest
import torch
from PIL import Image

from bot.errors import EngineError, ModelUnavailable
from bot.jobs import Media
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION
from bot.ports import TaskImage
from inference.engine.base import Over, Step, build
from inference.vision.itm import alike
from inference.vision.match_engine import AT_ONCE, ROWS, ranked
from tests.inference.support import make_model, make_task, png
from tests.inference.vision_reference import run
from training.draw import render
from training.evaluate import held_out_of
from training.scenes import PLAIN

TASKS = (ZERO_SHOT_IMAGE_CLASSIFICATION,)


@pytest.fixture(scope="module")
def engine():
    torch.set_num_threads(1)
    engine = build(make_model("starter-match", tasks=TASKS, repo="models/starter-match", demo=True))
    engine.load("cpu")
    yield engine
    engine.unload()


@pytest.fixture(scope="module")
def scenes():
    """Held out of every training."""
    return held_out_of(PLAIN, 300)[::30]


def picture_of(scene):
    return Media(png(Image.fromarray(render(scene))), "image/png")


def matching(scene, texts, id="job"):
    return make_task(
        "",
        id=id,
        command="match",
        task=ZERO_SHOT_IMAGE_CLASSIFICATION,
        options={"texts": " | ".join(texts)},
        images=(TaskImage("init", picture_of(scene)),),
    )


def lines_of(engine, task):
    return run(engine, task)[-1].finished.text.splitlines()


def test_the_right_caption_comes_first(engine, scenes):
    captions = [scene.caption for scene in scenes]

    firsts = [lines_of(engine, matching(scene, captions))[0] for scene in scenes]

    assert [line.partition(" % ")[2] for line in firsts] == captions
    assert all(float(line.partition(" % ")[0]) > 50 for line in firsts)


def test_the_numbers_are_the_librarys_own(engine, scenes):
    texts = [scene.caption for scene in scenes[:3]] + ["a fox"]
    picture = Image.fromarray(render(scenes[1]))
    given = engine._processor(images=picture, text=texts, padding="longest", return_tensors="pt")
    with torch.no_grad():
        alikeness = engine._blip(**given).logits_per_image[0]
        pairs = dict(given) | {"pixel_values": given["pixel_values"].expand(4, -1, -1, -1)}
        chances = engine._blip(**pairs, use_image_text_matching_head=True).logits_per_image.softmax(-1)[:, 1]
        patches, seen = engine._matcher.see(given["pixel_values"])

        torch.testing.assert_close(engine._matcher.fits(patches.expand(4, -1, -1), texts), chances)
        torch.testing.assert_close(alike(seen, engine._matcher.texts(texts))[0], alikeness)


def test_embeddings_have_length_one_in_a_space_that_pictures_and_texts_share(engine, scenes):
    pictures = engine.embed_pictures([picture_of(scene) for scene in scenes])
    texts = engine.embed_texts([scene.caption for scene in scenes])

    assert pictures.shape == (10, engine._blip.config.num_query_tokens, 96)
    assert texts.shape == (10, 96)
    torch.testing.assert_close(pictures.norm(dim=-1), torch.ones(pictures.shape[:2]))
    torch.testing.assert_close(texts.norm(dim=-1), torch.ones(10))
    assert alike(pictures, texts).argmax(dim=1).tolist() == list(range(10))


def test_several_are_matched_in_one_step_as_each_alone(engine, scenes):
    captions = [scene.caption for scene in scenes[:6]]
    tasks = [matching(scenes[n], captions[: n + 1], id=f"job-{n}") for n in range(AT_ONCE + 1)]
    alone = {task.id: lines_of(engine, task) for task in tasks}
    engine.used()
    for task in tasks:
        engine.admit(task)
    engine.cancel("job-1")

    assert engine.free_rows == ROWS - AT_ONCE
    events = engine.step()
    assert {event.task_id for event in events} == {"job-0", "job-2", "job-3", "job-4"}
    assert [(event.step, event.steps) for event in events if isinstance(event, Step)] == [(1, 1)] * AT_ONCE
    together = {event.task_id: event.finished.text.splitlines() for event in events if isinstance(event, Over)}
    assert together == {task_id: lines for task_id, lines in alone.items() if task_id != "job-1"}
    assert engine.step() == []
    assert set(engine.used()) == {task.id for task in tasks}


def test_a_picture_that_was_seen_is_not_looked_at_again(engine, scenes, monkeypatch):
    first = lines_of(engine, matching(scenes[0], ["a fox"]))
    monkeypatch.setattr(engine._looks, "_see", None)

    assert lines_of(engine, matching(scenes[0], ["a fox"])) == first


def test_a_text_longer_than_the_model_reads_is_cut(engine, scenes):
    assert len(lines_of(engine, matching(scenes[0], ["fox " * 200]))) == 1


def test_words_that_a_demo_model_does_not_know_are_named(engine, scenes):
    over = run(engine, matching(scenes[0], ["a xylograph"]))[-1]

    assert "xylograph" in over.finished.notes[0]


def test_a_match_without_a_picture_is_refused(engine, scenes):
    with pytest.raises(EngineError):
        engine.admit(dataclasses.replace(matching(scenes[0], ["a fox"]), images=()))

    assert engine.free_rows == ROWS


def test_texts_are_ranked_by_how_well_they_fit_then_by_how_alike_they_are():
    text = ranked(["a", "b", "c"], [0.5, 0.99996, 0.99999], [0.9, 0.8, 0.1])

    assert text.splitlines() == ["100 % b", "100 % c", "50 % a"]


def test_a_model_that_writes_is_no_model_that_matches():
    engine = build(make_model(tasks=TASKS, repo="models/starter-vision"))

    with pytest.raises(ModelUnavailable, match="lack"):
        engine.load("cpu")
