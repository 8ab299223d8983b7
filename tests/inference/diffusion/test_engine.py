"""The diffusion engine itself, on a tiny Stable Diffusion with random weights."""

import dataclasses
import io
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer

from bot.error_texts import PICTURE_BLANKED, PROMPT_TOO_LONG, WEIGHTS_UNREAD
from bot.errors import EngineError, InvalidOption, ModelUnavailable
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import TaskImage
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.pipeline_call import cover_crop, generate
from inference.diffusion.previews import Previewer, preview_decoder
from inference.diffusion.samplers import Samplers
from inference.engine.base import EngineEvent, ImageReady, StepDone, TaskDone, TaskFailed, build_engine
from inference.engine.tokenizer_notes import prompt_notes, question_notes
from inference.images.metadata import SOURCE_TYPE
from inference.ipc.environment import ROOT
from tests.inference.support import make_model, make_task, png
from tests.inference.tiny import save_diffusion

pytestmark = [
    # Diffusers' schedulers against NumPy 2.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]

OPTIONS = {
    "steps": 4,
    "guidance_scale": 3.0,
    "width": 32,
    "height": 32,
    "negative_prompt": "",
    "sampler": "",
    "count": 1,
    "seed": 7,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_diffusion(tmp_path_factory.mktemp("models") / "tiny")


def make_tiny_model(folder: Path, **overrides):
    return make_model("tiny", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo=str(folder), **overrides)


@pytest.fixture(scope="module")
def model(folder):
    return make_tiny_model(folder)


@pytest.fixture(scope="module")
def engine(model):
    engine = build_engine(model)
    engine.load_model("cpu")
    yield engine
    engine.unload_model()


def make_request(prompt="a fox", **options):
    return make_task(prompt, options=OPTIONS | options)


def with_init(task, image, strength=0.5):
    options = dict(task.options) | {"strength": strength}
    images = (TaskImage("init", Media(png(image), "image/png")),)
    return dataclasses.replace(task, task=IMAGE_TO_IMAGE, options=options, images=images)


def run_task(engine, task):
    engine.add_task(task)
    events: list[EngineEvent] = []
    while not (events and isinstance(events[-1], TaskDone)):
        events += engine.step()
        for event in events:
            if isinstance(event, TaskFailed):
                raise event.error
    return events


def images_of(events):
    return [event.image for event in events if isinstance(event, ImageReady)]


# ---------------------------------------------------------------- the engine


def test_each_engine_step_is_one_denoising_step(engine):
    events = run_task(engine, make_request())

    assert [type(event) for event in events] == [StepDone, StepDone, StepDone, StepDone, ImageReady, TaskDone]
    assert [event.step for event in events[:4]] == [1, 2, 3, 4]
    assert (images_of(events)[0].width, images_of(events)[0].height) == (32, 32)


def test_the_same_request_gives_the_same_pixels_and_another_seed_gives_others(engine):
    first, again, other = (images_of(run_task(engine, make_request(seed=seed)))[0] for seed in (7, 7, 8))

    assert first.pixels == again.pixels
    assert first.pixels != other.pixels


def test_image_k_of_four_is_the_image_of_its_seed_alone(engine):
    four = images_of(run_task(engine, make_request(count=4)))
    alone = images_of(run_task(engine, make_request(seed=9)))[0]

    assert [image.seed for image in four] == [7, 8, 9, 10]
    assert four[2].pixels == alone.pixels


def test_seeds_wrap_around_at_their_end(engine):
    two = images_of(run_task(engine, make_request(seed=2**32 - 1, count=2)))

    assert [image.seed for image in two] == [2**32 - 1, 0]


@pytest.mark.parametrize(
    "change", [{"guidance_scale": 7.0}, {"negative_prompt": "red cat"}, {"steps": 5}, {"sampler": "euler_a"}]
)
def test_each_option_makes_a_difference(engine, change):
    plain = images_of(run_task(engine, make_request()))[0]
    changed = images_of(run_task(engine, make_request(**change)))[0]

    assert plain.pixels != changed.pixels


def test_every_sampler_that_the_model_offers_works_and_leaves_the_next_job_alone(engine):
    before = images_of(run_task(engine, make_request()))[0]
    for sampler in engine.capabilities["samplers"]:
        image = images_of(run_task(engine, make_request(sampler=sampler)))[0]
        assert image.sampler == sampler

    assert images_of(run_task(engine, make_request()))[0].pixels == before.pixels


def test_the_models_own_sampler_comes_first_and_is_what_an_empty_name_means(engine):
    image = images_of(run_task(engine, make_request()))[0]

    assert engine.capabilities["samplers"][0] == image.sampler == "ddim"
    assert {"euler", "euler_a", "dpmpp_2m", "unipc"} <= set(engine.capabilities["samplers"])


def test_a_sampler_that_would_ignore_a_training_setting_is_not_offered():
    from diffusers import DDIMScheduler

    samplers = Samplers(DDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True))

    assert {"ddim", "euler", "dpmpp_2m"} <= set(samplers.names)
    assert not {"heun", "pndm", "deis"} & set(samplers.names)


def test_a_sampler_that_the_model_lacks_is_refused(engine):
    with pytest.raises(InvalidOption) as refused:
        engine.add_task(make_request(sampler="flow_euler"))

    assert (refused.value.option, refused.value.problem) == ("sampler", "choice")
    assert "ddim" in refused.value.allowed


def test_a_size_that_the_model_cannot_make_is_refused_with_the_nearest():
    class Picky:
        def __call__(self, prompt, width, height):
            raise ValueError(f"`height` and `width` have to be divisible by 16 but are {height} and {width}.")

    with pytest.raises(InvalidOption) as refused:
        generate(Picky(), make_request(width=56), 7, lambda *_: None)

    assert (refused.value.option, refused.value.problem, refused.value.nearest) == ("width", "multiple", "64")


def test_a_size_between_latent_cells_is_computed_larger_and_cropped(tmp_path):
    engine = build_engine(make_tiny_model(save_diffusion(tmp_path / "coarse", halvings=4)))
    engine.load_model("cpu")

    image = images_of(run_task(engine, make_request(width=40, height=56)))[0]
    engine.unload_model()

    assert (image.width, image.height) == (40, 56)
    assert len(image.pixels) == 40 * 56 * 3


def test_an_init_image_guides_the_result_and_low_strength_stays_close_to_it(engine):
    red = Image.new("RGB", (64, 32), "red")
    near, far = (images_of(run_task(engine, with_init(make_request(), red, strength)))[0] for strength in (0.01, 1.0))
    blue = images_of(run_task(engine, with_init(make_request(), Image.new("RGB", (64, 32), "blue"), 0.01)))[0]

    assert (near.width, near.height) == (32, 32)
    assert near.pixels != far.pixels
    assert near.pixels != blue.pixels


def test_an_init_image_is_scaled_to_cover_the_size_and_cropped_at_its_center():
    striped = Image.new("RGB", (30, 10), "green")
    striped.paste("red", (10, 0, 20, 10))

    cover = cover_crop(png(striped), 20, 20)

    assert cover.size == (20, 20)
    assert cover.getpixel((10, 10)) == (255, 0, 0)


def test_transparency_in_an_init_image_becomes_white():
    assert cover_crop(png(Image.new("RGBA", (8, 8), (255, 0, 0, 0))), 8, 8).getpixel((4, 4)) == (255, 255, 255)


def test_a_prompt_longer_than_the_encoder_is_encoded_completely_without_a_note(engine):
    done = run_task(engine, make_request("red fox " * 300))[-1]

    assert done.result.notes == ()


def test_notes_report_prompts_that_are_cut_or_whose_weights_are_ignored(folder):
    pipeline = SimpleNamespace(tokenizer=AutoTokenizer.from_pretrained(folder / "tokenizer"))

    assert prompt_notes(pipeline, ["red fox " * 300], is_demo=False) == (PROMPT_TOO_LONG,)
    assert prompt_notes(pipeline, ["a fox", "a (red:1.3) fox"], is_demo=False) == (WEIGHTS_UNREAD,)
    assert prompt_notes(pipeline, ["a red fox <lora:ink:1>"], is_demo=False) == ()


def test_a_demo_model_lists_unknown_words_once_and_no_function_words(engine, folder):
    demo = DiffusionEngine(make_tiny_model(folder, demo=True))
    demo.load_model("cpu")
    done = run_task(demo, make_request("please, a Knight on the red sunset of my knight"))[-1]
    demo.unload_model()

    assert done.result.notes == ("The model does not know these words: Knight, sunset",)
    assert run_task(engine, make_request("a knight"))[-1].result.notes == ()


def test_an_image_that_the_models_own_filter_blanked_counts_as_nsfw(engine, monkeypatch):
    pixels = numpy.zeros((32, 32, 3), numpy.uint8)
    monkeypatch.setattr("inference.diffusion.pipeline_run.generate", lambda *_, **__: (pixels, True))
    *_, ready, done = run_task(engine, make_request())

    assert ready.image.nsfw == 1.0
    assert done.result.notes == (PICTURE_BLANKED,)


def test_nan_values_are_an_error_and_not_a_black_image(engine, monkeypatch):
    vae = engine._pipelines[""].vae
    decode = vae.decode
    monkeypatch.setattr(vae, "decode", lambda *args, **more: (decode(*args, **more)[0] * float("nan"),))

    with pytest.raises(EngineError, match="half precision"):
        run_task(engine, make_request())
    engine.cancel_task("job")


def test_cancelling_ends_the_pipeline_at_its_current_step(engine):
    engine.add_task(make_request(steps=50))
    engine.step()
    engine.cancel_task("job")

    assert engine.free_slots == engine.capabilities["rows"]
    assert engine.step() == []
    assert images_of(run_task(engine, make_request()))


def test_the_capabilities_list_the_models_options(engine):
    options = {"prompt", "negative_prompt", "steps", "guidance_scale", "width", "height", "seed", "count", "strength"}

    assert options < set(engine.capabilities["options"])
    assert engine.capabilities["dtype"] == "float32"
    assert len(engine.capabilities["revision"]) == 40


# ---------------------------------------------------------------- previews


def test_previews_are_small_jpegs_and_at_most_two_a_second(engine):
    times = iter([0.0, 0.1, 0.1, 0.1, 0.4, 0.6, 0.6, 0.6, 0.8])
    previewer = Previewer(preview_decoder(engine._pipelines[""]), lambda: next(times))
    latents = torch.randn(1, 4, 64, 48)

    previews = [previewer.make_preview(latents) for _ in range(4)]

    assert [preview is not None for preview in previews] == [True, False, True, False]
    assert previews[0] is not None
    with Image.open(io.BytesIO(previews[0])) as image:
        assert image.format == "JPEG"
        assert max(image.size) == 128


def test_a_preview_that_runs_out_of_memory_ends_previews_and_not_the_job():
    tried = []

    def decode(latents):
        tried.append(latents)
        raise torch.OutOfMemoryError

    times = iter([0.0, 1.0, 20.0])
    previewer = Previewer(decode, lambda: next(times))

    assert [previewer.make_preview(torch.zeros(1, 4, 8, 8)) for _ in range(2)] == [None, None]
    assert len(tried) == 1


def test_previews_are_marked_as_generated(engine):
    preview = Previewer(preview_decoder(engine._pipelines[""])).make_preview(torch.randn(1, 4, 8, 8))

    assert preview is not None
    assert SOURCE_TYPE.encode() in preview


def test_previews_that_cost_over_a_tenth_of_the_job_are_skipped(engine):
    times = iter([0.0, 1.0, 2.0, 2.0, 4.0])
    previewer = Previewer(preview_decoder(engine._pipelines[""]), lambda: next(times))
    latents = torch.randn(1, 4, 4, 4)

    assert previewer.make_preview(latents) is not None, "it took a second of the first two"
    assert previewer.make_preview(latents) is None


# ---------------------------------------------------------------- refusals


def test_pickled_weights_are_refused(folder, tmp_path):
    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    for weights in pickled.rglob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))

    with pytest.raises(ModelUnavailable, match=r"no safetensors, only \.bin"):
        build_engine(make_tiny_model(pickled)).load_model("cpu")


def test_a_component_with_custom_code_is_refused_and_its_code_does_not_run(folder, tmp_path):
    evil = tmp_path / "evil"
    shutil.copytree(folder, evil)
    index = evil / "model_index.json"
    index.write_text(index.read_text().replace('"diffusers",\n    "UNet2DConditionModel"', '"mine",\n    "Mine"'))
    (evil / "unet" / "mine.py").write_text("raise SystemExit('code of a stranger ran')")

    with pytest.raises(ModelUnavailable, match="needs custom code"):
        build_engine(make_tiny_model(evil)).load_model("cpu")


@pytest.mark.parametrize("repo", ["models/nowhere", "nobody/nothing", "/no/such/folder"])
def test_a_model_that_is_not_installed_is_unavailable_and_not_fetched_from_the_hub(repo):
    with pytest.raises(ModelUnavailable):
        build_engine(make_tiny_model(Path(repo))).load_model("cpu")


def test_unknown_words_of_a_question_to_a_demo_model_are_listed():
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "models/starter-vision")

    assert question_notes(tokenizer, "is there a knight at sunset?", is_demo=True) == (
        "The model does not know these words: knight, sunset",
    )
    assert question_notes(tokenizer, "what color is the background?", is_demo=True) == ()
    assert question_notes(tokenizer, "is there a knight?", is_demo=False) == ()
    assert question_notes(tokenizer, "", is_demo=True) == ()


@pytest.mark.parametrize("trigger", ["xylo", "xylo 2.1", "my_xylo"])
def test_a_trigger_word_of_an_inversion_is_no_unknown_word(trigger):
    pipeline = SimpleNamespace(tokenizer=AutoTokenizer.from_pretrained(ROOT / "models/starter-vision"))

    prompt = f"a {trigger.title()}, the {trigger}'s embedding:{trigger}, a knight"
    notes = partial(prompt_notes, pipeline, [prompt], is_demo=True)

    assert notes(trigger_words=("xylo", trigger)) == ("The model does not know these words: knight",)
    assert "xylo" in notes()[0].casefold()
