"""Diffusers and BLIP-2 in one real child process, and the starter models if they are present."""

import dataclasses
import io
from contextlib import aclosing
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image, PngImagePlugin

from bot.errors import JobCancelled
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING
from bot.ports import Measurement, ModelCapabilities, Progress, TaskImage, TaskOutput, TrainingReport
from inference.images.service import ImageService
from inference.ipc.environment import ROOT
from inference.ipc.process import ChildProcess
from inference.learning.trainer_client import TrainerClient
from tests.fork_server.spawn import spawn_from
from tests.inference.learning.trainings import make_request
from tests.inference.support import collect, finish, make_model, make_task, open_pool, png
from tests.inference.tiny import save_blip, save_diffusion
from training.glyphs import write_folder

IMAGE_OPTIONS = {"steps": 4, "guidance_scale": 3.0, "width": 32, "height": 32, "negative_prompt": "", "sampler": ""}
VISION_OPTIONS = {"num_beams": 1, "temperature": 0.0, "top_p": 1.0, "min_new_tokens": 3, "max_new_tokens": 6}
STARTERS = ROOT / "models"
ENGINES = "inference.engine.base:build_engine"
VISION_TASKS = (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)
in_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_diffusion(folder / "image")
    save_blip(folder / "opt", "opt")
    save_blip(folder / "t5", "t5")
    return {
        "image": make_model("image", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo=str(folder / "image")),
        "opt": make_model("opt", tasks=VISION_TASKS, repo=str(folder / "opt")),
        "t5": make_model("t5", tasks=VISION_TASKS, repo=str(folder / "t5")),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool(models, forked_engines):
    async with (
        ImageService() as encoder,
        open_pool(
            list(models.values()), engine_factory=ENGINES, encoder=encoder, threads=1, max_loaded_models=3
        ) as pool,
    ):
        yield pool


def image_task(models, **options: Any):
    return make_task(model=models["image"], options=IMAGE_OPTIONS | options)


def vision_task(models, name="opt", *, question="", colour="red", **options: Any):
    image = Media(png(Image.new("RGB", (20, 20), colour)), "image/png")
    return make_task(
        "",
        command="ask" if question else "caption",
        task=VISUAL_QUESTION_ANSWERING if question else IMAGE_TO_TEXT,
        model=models[name],
        options=VISION_OPTIONS | options | ({"question": question} if question else {}),
        images=(TaskImage("init", image),),
    )


@in_one_loop
@pytest.mark.timeout(300)  # the child imports torch and Diffusers first
async def test_an_image_is_encoded_with_its_generation_metadata(pool, models):
    events = await collect(pool, image_task(models))

    output = events[-1]
    assert isinstance(output, TaskOutput)
    image = Image.open(io.BytesIO(output.images[0].media.data))
    assert isinstance(image, PngImagePlugin.PngImageFile)
    assert image.size == (32, 32)
    assert image.text["parameters"] == output.images[0].parameters
    assert "Sampler: DDIM" in output.images[0].parameters
    assert [e.capabilities["revision"] for e in events if isinstance(e, ModelCapabilities)] == [output.revision]
    assert {e.what for e in events if isinstance(e, Measurement)} == {"import", "load", "pass", "step", "job"}


@in_one_loop
async def test_the_same_request_gives_the_same_file(pool, models):
    first, second = [await finish(pool, image_task(models)) for _ in range(2)]

    assert first.images[0].media.data == second.images[0].media.data


@in_one_loop
async def test_an_image_of_several_equals_the_one_of_its_seed_alone(pool, models):
    four = await finish(pool, image_task(models, count=4))
    alone = await finish(pool, image_task(models, seed=9))

    assert four.images[2].media.data == alone.images[0].media.data


@in_one_loop
async def test_an_image_can_start_from_another(pool, models):
    init = TaskImage("init", Media(png(Image.new("RGB", (64, 32), "red")), "image/png"))
    task = dataclasses.replace(image_task(models, strength=0.5), task=IMAGE_TO_IMAGE, images=(init,))

    events = await collect(pool, task)

    assert [e.step for e in events if isinstance(e, Progress)] == [1, 2]
    assert "Denoising strength: 0.5" in events[-1].images[0].parameters


@in_one_loop
async def test_an_image_is_cancelled_at_the_next_step(pool, models):
    with pytest.raises(JobCancelled):
        await collect(pool, image_task(models, steps=900), at={2: lambda: pool.cancel_task("job")})

    assert (await finish(pool, image_task(models))).images
    assert pool.device_statuses()[0].restarts == 0


@in_one_loop
async def test_previews_are_made_on_request(pool, models):
    events = await collect(pool, dataclasses.replace(image_task(models, steps=200), wants_previews=True))

    assert any(isinstance(event, Progress) and event.preview for event in events)


@in_one_loop
@pytest.mark.parametrize("name", ["opt", "t5"])
async def test_a_question_is_answered_token_by_token(pool, models, name):
    events = await collect(pool, vision_task(models, name, question="what is on the red background ?"))

    steps = [(e.step, e.steps) for e in events if isinstance(e, Progress) and e.step]
    assert 3 <= len(steps) <= 6
    assert all(total == 6 for _, total in steps)
    assert events[-1].text is not None
    assert "token" in {e.what for e in events if isinstance(e, Measurement)}


@in_one_loop
async def test_an_answer_is_cancelled_at_the_next_token(pool, models):
    task = vision_task(models, question="what is it ?", min_new_tokens=90, max_new_tokens=90)

    with pytest.raises(JobCancelled):
        await collect(pool, task, at={2: lambda: pool.cancel_task("job")})

    assert (await finish(pool, vision_task(models))).text is not None
    assert pool.device_statuses()[0].restarts == 0


# ---------------------------------------------------------------- the starter models


@in_one_loop
@pytest.mark.skipif(not (STARTERS / "starter-image/unet").exists(), reason="the starter weights are not here")
async def test_the_starter_model_generates_the_background_of_its_prompt(pool):
    model = make_model("starter-image", repo="models/starter-image", demo=True)
    options = IMAGE_OPTIONS | {"steps": 12, "guidance_scale": 2.5, "width": 128, "height": 128}
    output = await finish(pool, make_task("a red circle on a purple background", model=model, options=options))

    image = Image.open(io.BytesIO(output.images[0].media.data)).convert("RGB").resize((8, 8))
    red, green, blue = image.tobytes()[:3]
    assert green < min(red, blue)


@in_one_loop
@pytest.mark.skipif(
    not (ROOT / "models/starter-vision/config.json").exists(), reason="the starter weights are not here"
)
async def test_the_starter_model_answers_a_question(pool):
    model = make_model("starter-vision", repo="models/starter-vision", demo=True, tasks=VISION_TASKS)
    task = vision_task({"opt": model}, question="What colour is the background?", colour="red", max_new_tokens=20)
    output = await finish(pool, task)

    assert output.text


@pytest.mark.skipif(
    not (ROOT / "models/starter-vision/config.json").exists(), reason="the starter weights are not here"
)
@pytest.mark.timeout(300)
async def test_the_starter_model_learns_in_a_process_of_its_own(forks, tmp_path, monkeypatch):
    trainer = {"inference.learning.trainer": forks.children["inference.worker"]}
    monkeypatch.setattr(ChildProcess, "spawn", spawn_from(trainer))
    write_folder(tmp_path / "folder", 1, seed=1)
    (tmp_path / "known").mkdir()
    for number in range(30):
        Image.new("RGB", (64, 64), (8 * number, 255 - 8 * number, 99)).save(tmp_path / f"known/{number}.png")
    model = make_model("starter-vision", repo="models/starter-vision", demo=True, tasks=VISION_TASKS)
    request = make_request(tmp_path, model=model, replay=str(tmp_path / "known"), steps=3)

    stages = []
    async with aclosing(TrainerClient(1).train(request, is_paused=lambda: False)) as events:
        async for event in events:
            stages.append(event.stage)
            if event.stage == "training":
                break
    *progress, report = [event async for event in TrainerClient(1).train(request, is_paused=lambda: False)]

    assert {"checking", "encoding", "replaying"} <= set(stages)
    assert "encoding" not in {event.stage for event in progress}
    assert isinstance(report, TrainingReport)
    assert (report.old_before.right, report.steps) == (report.old_before.total, 3)
    assert report.old_before.total >= 100
    assert (tmp_path / "adapters/foxes/adapter_model.safetensors").exists()
