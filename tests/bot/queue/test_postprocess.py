"""Post-processing: alt texts, files and resizing."""

import asyncio
import time
from dataclasses import replace

import pytest

from bot import error_texts
from bot.commands import COMMANDS, Answer
from bot.errors import EngineError, StorageFull
from bot.jobs import BY_BOT, ImageRef, JobState, Media
from bot.models import IMAGE_TO_TEXT, TEXT_TO_IMAGE, ModelRegistry
from bot.ports import Progress, RenderedImage, SafetyRules, TaskOutput
from bot.queue import postprocess
from bot.queue.postprocess import Postprocessor
from bot.safety import apply_rules
from tests.bot.queue.test_dispatcher import Harness
from tests.fakes import (
    FakeImageProcessor,
    FakeMediaStore,
    FakePool,
    make_done,
    make_job,
    make_model,
    make_origin,
    media_id,
)
from tests.moderation import Unmoderated

PAINTER = make_model(name="fox-diffusion", tasks=(TEXT_TO_IMAGE,))
SEER = make_model(name="seer", tasks=(IMAGE_TO_TEXT,))


@pytest.fixture
def pool():
    pool = FakePool(models=("fox-diffusion", "seer"))
    pool.loaded = frozenset({"seer"})
    return pool


def make_finishing(pool, *models):
    named = {model.name: model for model in models or (PAINTER, SEER)}
    return Postprocessor(
        media=FakeMediaStore(), pool=pool, image_processor=FakeImageProcessor(), models=ModelRegistry(named)
    )


def seen_as(pool, job, *items):
    pool.scripts[f"{job.id}.alt0"] = [list(items)]


async def test_a_picture_is_described_by_the_model_that_sees(pool):
    job = make_job()
    seen_as(pool, job, Progress(step=1, steps=2), make_done(images=(), text="a red fox\u200b"))
    alts = await make_finishing(pool).alt_texts(job, make_done())
    [asked] = pool.called("run_task")

    assert alts == ["a red fox"]
    assert (asked.task.model, asked.task.command, asked.task.images[0].media.data) == (SEER, "caption", b"a fox")


@pytest.mark.parametrize("models", [(PAINTER,), (PAINTER, SEER)])
async def test_the_prompt_is_used_if_no_vision_model_is_loaded(pool, models, monkeypatch):
    monkeypatch.setattr(postprocess, "CAPTION_TIMEOUT_S", 60.0)
    pool.loaded = frozenset({"fox-diffusion"})
    started = time.monotonic()
    alts = await make_finishing(pool, *models).alt_texts(make_job(), make_done())

    assert alts == ["a fox"]
    assert pool.called("run_task") == []
    assert time.monotonic() - started < 20


async def test_each_picture_is_described_by_the_words_of_its_own_prompt(pool):
    pool.loaded = frozenset({"fox-diffusion"})
    [made] = make_done().images
    options = {**make_job().options, "prompt": "a fox", "prompts": ["a (fox:1.2)", "a cat <lora:ink:1>"]}

    alts = await make_finishing(pool).alt_texts(
        make_job(options=options), make_done(images=(made, replace(made, index=1)))
    )

    assert alts == ["a fox", "a cat"]


async def test_a_busy_device_is_waited_for_but_not_for_long(pool, monkeypatch):
    monkeypatch.setattr(postprocess, "CAPTION_TIMEOUT_S", 0.1)
    pool.devices = {"cpu": 0}
    alts = await make_finishing(pool).alt_texts(make_job(), make_done())

    assert alts == ["a fox"]
    assert pool.called("run_task") == []


async def test_a_device_that_becomes_free_in_time_is_used(pool):
    job = make_job()
    pool.devices = {"cpu": 0}
    seen_as(pool, job, make_done(images=(), text="a red fox"))
    asking = asyncio.create_task(make_finishing(pool).alt_texts(job, make_done()))
    await asyncio.sleep(0.05)
    pool.devices = {"cpu": 1}

    assert await asking == ["a red fox"]


@pytest.mark.parametrize(
    ("is_demo", "job", "alt"),
    [
        (True, {}, "a circle"),
        (False, {}, "a fox"),
        (True, {"images": (ImageRef("1", author="5"),)}, "a fox"),
        (True, {"images": (ImageRef("1", author=BY_BOT),)}, "a circle"),
        (True, {"images": (ImageRef("1", author="5"),), "options": {}}, "a circle"),
    ],
)
async def test_a_demo_describes_only_what_a_demo_made(pool, is_demo, job, alt):
    job = make_job(**job)
    seen_as(pool, job, make_done(images=(), text="a circle"))
    models = (replace(PAINTER, demo=is_demo), replace(SEER, demo=True))

    assert await make_finishing(pool, *models).alt_texts(job, make_done()) == [alt]


async def test_a_slow_caption_is_given_up_and_its_task_cancelled(pool, monkeypatch):
    monkeypatch.setattr(postprocess, "CAPTION_TIMEOUT_S", 0.1)
    job = make_job()
    seen_as(pool, job, Progress(step=1, steps=2), asyncio.Event())

    assert await make_finishing(pool).alt_texts(job, make_done()) == ["a fox"]
    assert pool.running == {}


@pytest.mark.parametrize("error", [EngineError("broken"), ValueError("worse")])
async def test_a_failing_caption_costs_nothing_but_itself(pool, error):
    job = make_job()
    seen_as(pool, job, error)

    assert await make_finishing(pool).alt_texts(job, make_done()) == ["a fox"]


async def test_captions_that_came_in_time_stay_when_a_later_one_does_not(pool, monkeypatch):
    monkeypatch.setattr(postprocess, "CAPTION_TIMEOUT_S", 0.3)
    job, done = make_job(), make_done()
    seen_as(pool, job, make_done(images=(), text="first"))
    pool.scripts[f"{job.id}.alt1"] = [[asyncio.Event()]]
    two = make_done(images=done.images * 2)

    assert await make_finishing(pool).alt_texts(job, two) == ["first", "a fox"]


async def test_the_alt_text_is_kept_with_the_result():
    harness = Harness(pool=FakePool(models=("fox-diffusion", "seer")))
    harness.pool.loaded = frozenset({"seer"})
    harness.models = ModelRegistry({"fox-diffusion": PAINTER, "seer": SEER})
    job = make_job()
    harness.pool.scripts[f"{job.id}.alt0"] = [[make_done(images=(), text="a red fox")]]
    (ended,) = await harness.work_off(job)

    assert ended.result.media[0].alt == "a red fox"


async def test_a_full_disk_does_not_caption_again():
    harness = Harness(pool=FakePool(models=("fox-diffusion", "seer")))
    harness.pool.loaded = frozenset({"seer"})
    harness.models = ModelRegistry({"fox-diffusion": PAINTER, "seer": SEER})
    harness.media.failures["write_file"] = [StorageFull(), StorageFull()]
    job = make_job()
    harness.pool.scripts[f"{job.id}.alt0"] = [[make_done(images=(), text="a red fox")]]
    await harness.work_off(job)

    assert len(harness.pool.called("run_task")) == 2


async def test_resizing_needs_no_device_and_says_what_it_was():
    harness = Harness()
    photo = await harness.media.add_upload("ann", Media(b"photo", "image/png"), width=8, height=8, parameters=None)
    options = {"prompt": "", "scale": 2, "method": "resize", "width": 16, "height": 16, "count": 1}
    job = make_job(command="upscale", options=options, images=(ImageRef(photo.id),), origin=make_origin(locale="en-GB"))
    (ended,) = await harness.work_off(job)

    assert ended.state is JobState.RENDERED
    assert harness.pool.called("run_task") == []
    assert [picture.id for picture in ended.result.media] == [media_id(b"photo, larger")]
    assert ended.result.notes == ("Only resized: fox-diffusion draws at least 64 px a side, and 16x16 is smaller.",)
    assert ended.result.seed is None


BLOCK_RULES = SafetyRules(policy="block", threshold=0.5)
SPOILER_RULES = SafetyRules(policy="spoiler", threshold=0.5)


class Moderated(Unmoderated):
    def __init__(self, rules):
        self.rules = rules

    async def rules_for(self, *_):
        return self.rules

    def apply_rules(self, done, rules):
        return apply_rules(done, rules)


async def resize_judged(rules, *answers):
    """A resize of a photo, whose check answers this; the harness and the job as it ended."""
    harness = Harness(moderation=Moderated(rules))
    photo = await harness.media.add_upload("ann", Media(b"photo", "image/png"), width=8, height=8, parameters=None)
    options = {"prompt": "", "scale": 2, "method": "resize", "width": 16, "height": 16, "count": 1}
    job = make_job(command="upscale", options=options, images=(ImageRef(photo.id),))
    harness.pool.scripts[f"{job.id}.check"] = [list(answers)]
    (ended,) = await harness.work_off(job)
    return harness, ended


async def test_a_resized_image_is_judged_with_the_one_that_it_was_made_from():
    for scores in ((0.9, 0.8), (0.9, 0.1), (0.1, 0.9)):
        answer = TaskOutput(scores=scores)
        harness, ended = await resize_judged(SPOILER_RULES, Progress(step=0, steps=1), answer)
        assert_hidden(harness, ended)


def assert_hidden(harness, ended):
    [check] = harness.pool.called("run_task")
    [image] = ended.result.media

    assert [image.media.data for image in check.task.images] == [b"photo", b"photo, larger"]
    assert check.task.is_safety_check
    assert (image.is_spoiler, image.is_adult, image.is_unchecked) == (True, True, False)


@pytest.mark.parametrize("scores", [(0.9, 0.1), (0.1, 0.9), (None, None), (0.1,), ()])
async def test_a_resized_image_that_is_sexual_or_without_a_score_is_discarded(scores):
    harness, ended = await resize_judged(BLOCK_RULES, TaskOutput(scores=scores))

    assert (ended.state, ended.error.code, ended.result) == (JobState.FAILED, "blocked", None)
    assert harness.store.captures == []
    assert media_id(b"photo, larger") not in harness.media.files


async def test_an_alt_text_says_what_was_drawn_where_a_model_made_the_prompt_richer():
    images = tuple(
        RenderedImage(media=Media(b"", "image/png"), width=8, height=8, parameters="", index=n) for n in (1, 0)
    )
    output = TaskOutput(images=images, prompts=("a (fox:1.2) in snow", "a cat"))

    alts = await Harness().build().postprocessor.alt_texts(make_job(), output, may_wait=False)

    assert alts == ["a cat", "a fox in snow"]


async def test_an_unchecked_resized_image_says_so_where_it_may_be_shown():
    rules = replace(BLOCK_RULES, may_be_unchecked=True)
    _, ended = await resize_judged(rules, TaskOutput(scores=(None, None)))
    [image] = ended.result.media

    assert (image.is_spoiler, image.is_adult, image.is_unchecked) == (True, True, True)
    assert ended.result.notes[1:] == (error_texts.UNCHECKED,)


@pytest.mark.parametrize("command", [name for name, kind in COMMANDS.items() if kind.answers is Answer.IMAGES])
@pytest.mark.parametrize("region", ["", "the hat"])
async def test_what_is_made_without_a_prompt_has_an_alt_text(command, region):
    if all(spec.name != "prompt" or not spec.is_required for spec in COMMANDS[command].specs):
        job = make_job(command=command, options={"region": region, "prompt": ""})
        image = RenderedImage(media=Media(b"", "image/png"), width=8, height=8, parameters="")
        processor = Harness().build().postprocessor

        [alt] = await processor.alt_texts(job, TaskOutput(images=(image,)), may_wait=False)

        assert alt
        assert region in alt or command not in ("cutout", "preview")
