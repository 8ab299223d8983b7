"""Images that are compared while they are made: what they are expected to become, and what is left of them."""

import io

import numpy
import pytest
import torch
from PIL import Image

from bot.commands.best_of import Round
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from inference.diffusion.candidates import encode_png, to_decoder_input
from inference.diffusion.expected_latents import StepRecord
from inference.diffusion.samplers import Samplers
from inference.engine.base import CandidatesReady, EngineEvent, ImageReady, StepDone, TaskDone, TaskFailed, build_engine
from tests.inference.families import save_klein, save_sdxl, save_z_image
from tests.inference.recent_families import save_ernie, save_krea2, save_qwen_image_21
from tests.inference.support import make_model, make_task
from tests.inference.tiny import save_diffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

OPTIONS = {"steps": 10, "guidance_scale": 1.0, "width": 32, "height": 32, "negative_prompt": "", "sampler": ""}
SAVERS = {
    "sd": save_diffusion,
    "sdxl": save_sdxl,
    "klein": save_klein,
    "z-image": save_z_image,
    "ernie": save_ernie,
    "krea": save_krea2,
    "qwen": save_qwen_image_21,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = save_diffusion(tmp_path_factory.mktemp("models") / "tiny")
    engine = build_engine(make_model("tiny", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo=str(folder)))
    engine.load_model("cpu")
    yield engine
    engine.unload_model()


def make_request(task_id="job", seed=7, **options):
    return make_task("a fox", id=task_id, options={**OPTIONS, "seed": seed, **options})


def best_of(count, task_id="job", **options):
    return make_request(task_id, best=count, count=count, **options)


def run(engine, tasks):
    """All events until all tasks are done; the last of compared images go on."""
    for task in tasks:
        engine.add_task(task)
    events: list[EngineEvent] = []
    open_tasks = {task.id for task in tasks}
    for _ in range(500):
        for event in engine.step():
            events.append(event)
            if isinstance(event, TaskFailed):
                raise event.error
            if isinstance(event, CandidatesReady):
                found = event.candidates
                engine.keep_rows(event.task_id, found.step, [one.index for one in found.images][-found.kept :])
            if isinstance(event, TaskDone):
                open_tasks.discard(event.task_id)
        if not open_tasks:
            return events
    raise AssertionError(f"these never end: {open_tasks}")


def images_of(events, task_id="job"):
    return {one.image.index: one.image for one in events if isinstance(one, ImageReady) and one.task_id == task_id}


def test_eight_are_halved_twice_and_those_left_are_what_their_seeds_give_alone(engine):
    events = run(engine, [best_of(8)])

    asked = [one.candidates for one in events if isinstance(one, CandidatesReady)]
    assert [(one.step, one.kept, [image.index for image in one.images]) for one in asked] == [
        (3, 4, [0, 1, 2, 3, 4, 5, 6, 7]),
        (6, 2, [4, 5, 6, 7]),
    ]
    left = images_of(events)
    assert sorted(left) == [6, 7]
    alone = images_of(run(engine, [make_request(seed=14, count=1)]))[0]
    assert (left[7].seed, left[7].pixels) == (14, alone.pixels)


def test_up_to_four_are_all_finished(engine):
    events = run(engine, [best_of(4)])

    assert not any(isinstance(one, CandidatesReady) for one in events)
    assert sorted(images_of(events)) == [0, 1, 2, 3]


def test_progress_grows_to_its_end_whatever_is_dropped(engine):
    steps = [one for one in run(engine, [best_of(8)]) if isinstance(one, StepDone)]

    shares = [one.step / one.steps for one in steps]
    assert [one.step for one in steps] == sorted(one.step for one in steps)
    assert shares[-1] == 1.0
    assert steps[-1].steps == 8 * 3 + 4 * 3 + 2 * 4


def test_others_go_on_while_images_wait_and_get_what_they_would_alone(engine):
    alone = images_of(run(engine, [make_request("other", seed=3, count=1)]), "other")[0]
    engine.add_task(best_of(8))
    engine.add_task(make_request("other", seed=3, count=1))
    events: list[EngineEvent] = []
    while not any(isinstance(one, TaskDone) for one in events):
        events += engine.step()  # nobody answers

    assert [one.task_id for one in events if isinstance(one, TaskDone)] == ["other"]
    assert images_of(events, "other")[0].pixels == alone.pixels
    engine.cancel_task("job")
    assert engine.free_slots == 16


def test_an_answer_to_another_question_is_ignored(engine):
    engine.add_task(best_of(8))
    events: list[EngineEvent] = []
    while not any(isinstance(one, CandidatesReady) for one in events):
        events += engine.step()

    engine.keep_rows("job", 6, [0])
    engine.keep_rows("job", 3, [])
    engine.keep_rows("nobody", 3, [0])

    assert not any(engine.step() for _ in range(3))
    engine.cancel_task("job")


def test_two_tasks_are_compared_at_the_same_time(engine):
    events = run(engine, [best_of(8), best_of(5, "other", seed=100)])

    assert sorted(images_of(events)) == [6, 7]
    assert [one.seed for one in images_of(events, "other").values()] == [103, 104]


def test_hires_fix_enlarges_only_what_is_left(engine):
    events = run(engine, [best_of(8, hires=2.0, strength=0.5)])

    assert [(one.width, one.index) for one in images_of(events).values()] == [(64, 6), (64, 7)]


@pytest.mark.parametrize("family", SAVERS)
def test_what_an_image_is_expected_to_become_at_its_last_step_is_the_image(family, tmp_path, monkeypatch):
    """And it can be decoded in each family's layout."""
    engine = build_engine(make_model("tiny", repo=str(SAVERS[family](tmp_path / family)), size_multiple=16))
    engine.load_model("cpu")
    last = [Round(step=3, kept=2)]
    monkeypatch.setattr("inference.diffusion.candidates.plan_rounds", lambda _best, steps: last if steps == 3 else [])
    events = run(engine, [best_of(5, steps=3, width=64, height=64)])
    (asked,) = [one.candidates for one in events if isinstance(one, CandidatesReady)]
    engine.unload_model()

    for image in images_of(events).values():
        expected = next(one.media for one in asked.images if one.index == image.index)
        pixels = numpy.frombuffer(image.pixels, numpy.uint8).reshape(image.height, image.width, 3)
        shown = numpy.asarray(Image.open(io.BytesIO(expected.data)))
        assert abs(shown.astype(int) - pixels).max() <= 2


ONE_STEP = (
    "ddim",
    "ddpm",
    "deis",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_3m",
    "euler",
    "euler_a",
    "lms",
    "pndm",
    "sa_solver",
    "unipc",
)


@pytest.mark.parametrize("sampler", ONE_STEP)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_perfect_denoiser_tells_the_image_at_every_step_of_every_sampler(sampler, prediction, tmp_path_factory):
    from diffusers import DDIMScheduler

    base = DDIMScheduler(beta_schedule="scaled_linear", prediction_type=prediction, clip_sample=False)
    names = Samplers(base)
    if sampler not in names.names:
        pytest.skip("this sampler does not respect the prediction type")
    scheduler = names.create_scheduler(sampler)
    record = StepRecord(scheduler)
    scheduler.set_timesteps(8)
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(1, 4, 8, 8, generator=generator)
    noise = torch.randn(1, 4, 8, 8, generator=generator)
    timestep = scheduler.timesteps[3]
    sample = scheduler.add_noise(truth, noise, timestep[None])
    image, amount = _shares(base, timestep)
    output = noise if prediction == "epsilon" else image * noise - amount * truth
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(3)
    scheduler.step(output, timestep, sample, return_dict=False)

    assert torch.allclose(record.expect_latents(), truth, atol=2e-2)


def _shares(scheduler, timestep):
    alpha = scheduler.alphas_cumprod[int(timestep)]
    return alpha**0.5, (1 - alpha) ** 0.5


def test_latents_of_an_unknown_layout_are_not_decoded(engine):
    assert to_decoder_input(engine._pipelines[""], torch.zeros(1, 2), (32, 32)) is None


def test_a_picture_of_values_that_are_no_numbers_can_still_be_shown():
    assert encode_png(torch.full((1, 3, 4, 4), float("nan"))).media_type == "image/png"
