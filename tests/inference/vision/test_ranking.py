"""RANK and EMBED of the image-text matching engine, in every number format, and on the shipped starter model."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bot.errors import EngineError
from bot.jobs import Media
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION
from bot.ports import EMBED, RANK, MatchScore, TaskImage
from inference.engine.base import TaskDone, build_engine
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_matcher
from tests.inference.vision_reference import run_task
from training.draw import render_scene
from training.evaluate import held_out_of_kind
from training.scenes import PLAIN

TASKS = (ZERO_SHOT_IMAGE_CLASSIFICATION,)
COLOURS = ("red", "blue", "green", "white")
SAMPLE_FORMATS = ("float32", "float16", "bfloat16")


def colour_image(colour):
    return TaskImage("init", Media(png(Image.new("RGB", (24, 16), colour)), "image/png"))


def load(**model):
    torch.set_num_threads(1)
    engine = build_engine(make_model("match", tasks=TASKS, **model))
    engine.load_model("cpu")
    return engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_matcher(tmp_path_factory.mktemp("models") / "matcher"))


@pytest.fixture
def engine(folder):
    engine = load(repo=folder)
    yield engine
    engine.unload_model()


def rank_task(text, images, id="job"):
    return task_of(RANK, {"text": text}, images, id)


def embed_task(images=(), text=None, id="job"):
    return task_of(EMBED, {} if text is None else {"text": text}, images, id)


def task_of(command, options, images, id):
    images = tuple(map(colour_image, images)) if images and isinstance(images[0], str) else tuple(images)
    return make_task("", id=id, command=command, task=ZERO_SHOT_IMAGE_CLASSIFICATION, options=options, images=images)


def result_of(engine, task):
    return run_task(engine, task)[-1].result


def vectors_of(embedding):
    return np.frombuffer(embedding.vectors, "<f2").reshape(embedding.count, embedding.width).astype(np.float32)


def run_together(engine, tasks):
    """Results by task id, and how many passes they took."""
    for task in tasks:
        engine.add_task(task)
    results: dict[str, Any] = {}
    passes = 0
    while len(results) < len(tasks):
        passes += 1
        results |= {event.task_id: event.result for event in engine.step() if isinstance(event, TaskDone)}
    return results, passes


def reference_scores(engine, text, colours):
    """Transformers' own logits of both heads."""
    images = [Image.new("RGB", (24, 16), colour) for colour in colours]
    pixels = engine._processor.image_processor(images=images, return_tensors="pt")["pixel_values"]
    inputs = engine._processor.tokenizer([text] * len(images), return_tensors="pt")
    inputs["pixel_values"] = pixels.to(engine._blip.vision_model.dtype)
    with torch.no_grad():
        pairs = engine._blip(**inputs, use_image_text_matching_head=True).logits_per_image.float()
        similarities = engine._blip(**inputs).logits_per_image[:, 0].float()
    return (pairs[:, 1] - pairs[:, 0]).tolist(), similarities.tolist()


@pytest.mark.parametrize("dtype", SAMPLE_FORMATS)
def test_a_ranking_has_transformers_own_logits_and_similarities(folder, dtype):
    engine = load(repo=folder, dtype=dtype)

    matches = result_of(engine, rank_task("a red fox", COLOURS)).matches

    logits, similarities = reference_scores(engine, "a red fox", COLOURS)
    tolerance = 1e-5 if dtype == "float32" else 0.03
    assert [one.logit for one in matches] == pytest.approx(logits, abs=tolerance)
    assert [one.similarity for one in matches] == pytest.approx(similarities, abs=tolerance)


@pytest.mark.parametrize("dtype", SAMPLE_FORMATS)
def test_an_embedding_is_half_precision_vectors_of_length_one(folder, dtype):
    engine = load(repo=folder, dtype=dtype)

    images = result_of(engine, embed_task(COLOURS)).embeddings
    [text] = result_of(engine, embed_task(text="a fox")).embeddings

    assert [(one.model, one.count, one.width) for one in (*images, text)] == [("match", 4, 8)] * 4 + [("match", 1, 8)]
    assert all(one.revision == engine.capabilities["revision"] for one in (*images, text))
    for one in (*images, text):
        assert np.linalg.norm(vectors_of(one), axis=1) == pytest.approx(1, abs=1e-3)


def test_the_similarity_is_the_largest_of_the_images_vectors(engine):
    [text] = result_of(engine, embed_task(text="the cat")).embeddings
    images = result_of(engine, embed_task(COLOURS)).embeddings

    matches = result_of(engine, rank_task("the cat", COLOURS)).matches

    nearest = [(vectors_of(one) @ vectors_of(text)[0]).max() for one in images]
    assert [one.similarity for one in matches] == pytest.approx(nearest, abs=2e-3)


def test_different_commands_share_a_pass_and_answer_as_alone(engine):
    tasks = [
        rank_task("a red fox", ["red", "blue", "red"], id="rank"),
        embed_task(["green", "white"], id="images"),
        embed_task(text="a cat", id="text"),
        rank_task("a blue cat", ["blue"], id="one"),
    ]
    alone = {task.id: result_of(engine, task) for task in tasks}
    engine._clear_caches()

    together, passes = run_together(engine, tasks)

    assert passes == 1
    assert together["rank"].matches[0] == together["rank"].matches[2] != together["rank"].matches[1]
    for task in tasks:
        both = together[task.id], alone[task.id]
        for one, other in zip(*(result.matches for result in both), strict=True):
            assert (one.logit, one.similarity) == pytest.approx((other.logit, other.similarity), abs=1e-5)
        for one, other in zip(*(result.embeddings for result in both), strict=True):
            assert vectors_of(one) == pytest.approx(vectors_of(other), abs=2e-3)


@pytest.mark.parametrize(("sizes", "passes"), [((8, 8), 1), ((16, 1), 2), ((9, 8), 2), ((16, 16), 2), ((20,), 1)])
def test_a_pass_has_at_most_sixteen_images_of_several_tasks(engine, sizes, passes):
    shades = [f"#{n:02x}4488" for n in range(20)]
    tasks = [rank_task("a fox", shades[:size], id=str(n)) for n, size in enumerate(sizes)]

    results, needed = run_together(engine, tasks)

    assert needed == passes
    assert [len(results[task.id].matches) for task in tasks] == list(sizes)


def test_with_little_memory_images_are_encoded_one_at_a_time(engine, monkeypatch):
    expected = result_of(engine, rank_task("a fox", COLOURS)).matches
    engine.reduce_memory()
    encode_all, sizes = engine._image_encoder._encode, []

    def encode(pixels):
        sizes.append(len(pixels))
        return encode_all(pixels)

    monkeypatch.setattr(engine._image_encoder, "_encode", encode)

    matches = result_of(engine, rank_task("a fox", COLOURS)).matches

    assert sizes == [1, 1, 1, 1]
    assert [one.logit for one in matches] == pytest.approx([one.logit for one in expected], abs=1e-5)


def test_a_ranking_needs_an_image_and_its_cost_is_that_of_one(engine):
    with pytest.raises(EngineError):
        engine.add_task(rank_task("a fox", ()))

    for task in (rank_task("a fox", COLOURS), embed_task(text="a fox")):
        run_task(engine, task)
        used = engine.take_usage()[task.id]
        assert all(0 < sample.seconds < used / len(COLOURS) for sample in engine.cost_samples(task))


def test_the_starter_ranks_the_right_picture_first():
    engine = load(repo="models/starter-match", demo=True)
    scenes = held_out_of_kind(PLAIN, 300)[::20]
    images = [TaskImage("init", Media(png(Image.fromarray(render_scene(scene))), "image/png")) for scene in scenes]

    for index, scene in enumerate(scenes[:4]):
        matches = result_of(engine, rank_task(scene.caption, images)).matches

        assert max(matches, key=lambda one: one.logit) is matches[index]
        assert matches[index].logit > 2
        assert matches[index].similarity > 0.5
        assert sum(one.logit > 0 for one in matches) <= 2
        assert all(isinstance(one, MatchScore) for one in matches)
