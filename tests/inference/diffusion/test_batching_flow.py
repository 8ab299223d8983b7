"""FLUX.2 klein and Z-Image, many pictures at once, against their stock pipelines one at a time."""

import itertools

import pytest
import torch
from diffusers import AutoPipelineForImage2Image, Flux2KleinPipeline, ZImagePipeline
from PIL import Image

from bot.jobs import Media
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import TaskImage
from inference.diffusion.batching import merge_for
from inference.diffusion.batching_flow import band
from inference.diffusion.coroutines import Held, holding
from inference.diffusion.embedding_cache import Conditions
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.previews import decoder_of
from tests.inference.diffusion.test_batching import play
from tests.inference.families import save_klein, save_z_image
from tests.inference.stream import Stream, alone, check
from tests.inference.support import make_model, make_task, png

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
LONG = "what is a red fox on the blue background , a cat : the question on a red background ?"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


def loaded(kind, save, folder):
    pipeline = kind.from_pretrained(save(folder), local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


WORDS = 32
"""To which prompts of klein are padded here; 512 would be most of the work."""


def with_short_prompts(pipeline):
    encode = pipeline.encode_prompt
    pipeline.encode_prompt = lambda **arguments: encode(**(arguments | {"max_sequence_length": WORDS}))
    return pipeline


@pytest.fixture(scope="module")
def klein(tmp_path_factory):
    return with_short_prompts(loaded(Flux2KleinPipeline, save_klein, tmp_path_factory.mktemp("flow") / "klein"))


@pytest.fixture(scope="module")
def guided_klein(klein):
    """The base model, which was not distilled: it takes guidance."""
    pipeline = Flux2KleinPipeline(**klein.components, is_distilled=False)
    pipeline.set_progress_bar_config(disable=True)
    return with_short_prompts(pipeline)


@pytest.fixture(scope="module")
def z_image(tmp_path_factory):
    return loaded(ZImagePipeline, save_z_image, tmp_path_factory.mktemp("flow") / "z-image")


@pytest.fixture(scope="module")
def redrawing(z_image):
    pipeline = AutoPipelineForImage2Image.from_pipe(z_image)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def painted(colour, width=64, height=64):
    image = Image.linear_gradient("L").resize((width, height))
    return Media(
        png(Image.composite(Image.new("RGB", (width, height), colour), image.convert("RGB"), image)), "image/png"
    )


def make_drawing(name, prompt="a red fox", *, seed=1, images=(), **options):
    task = IMAGE_TEXT_TO_IMAGE if images else TEXT_TO_IMAGE
    defaults = {"steps": 4, "guidance_scale": 1.0, "width": 64, "height": 64, "seed": seed, "negative_prompt": ""}
    roles = ("init", *("reference",) * 3)
    given = tuple(TaskImage(role, media) for role, media in zip(roles, images, strict=False))
    return make_task(prompt, id=name, task=task, options=defaults | options, images=given)


def make_redrawing(name, colour, **options):
    task = make_drawing(name, images=[painted(colour)], **({"strength": 0.6} | options))
    return make_task(task.options["prompt"], id=name, task=IMAGE_TO_IMAGE, options=task.options, images=task.images)


def named(*tasks):
    return {task.id: task for task in tasks}


COMPOSED = (painted("lime"), painted("teal", 96, 64), painted("red", 64, 96))


def pairs(stream):
    """Who ever shared a pass, in alphabetical order."""
    return {pair for names in stream.passes for pair in itertools.combinations(sorted(names), 2)}


def run_until_a_pass_of(stream, name):
    while not any(name in names for names in stream.passes):
        stream.run_pass()


KLEIN = named(
    make_drawing("short"),
    make_drawing("long", LONG, seed=2, steps=6),
    make_drawing("wide", seed=3, width=128),
    make_drawing("high", seed=4, height=128),
    make_drawing("changed", seed=5, images=[painted("red")]),
    make_drawing("composed", seed=6, images=[painted("blue"), painted("red", 96, 64), painted("teal", 64, 96)]),
    make_drawing("composed too", LONG, seed=7, steps=7, images=COMPOSED),
    make_drawing("in another order", seed=8, images=[painted("lime"), painted("teal", 64, 96), painted("red", 96, 64)]),
    make_drawing("of four", seed=9, steps=3, images=[painted(one) for one in ("red", "teal", "blue", "lime")]),
)  # fmt: skip


def test_every_picture_of_a_mixed_stream_of_klein_is_the_one_it_would_be_alone(klein):
    stream = Stream(klein.transformer)
    for task in KLEIN.values():
        stream.add(klein, task)
        stream.run_pass()
    stream.add(klein, make_drawing("cancelled", seed=10, steps=9))
    run_until_a_pass_of(stream, "cancelled")
    stream.cancel("cancelled")
    stream.finish()

    check(stream, KLEIN, lambda _task: klein)
    together = pairs(stream)
    assert {("long", "short"), ("cancelled", "long"), ("composed", "composed too")} <= together
    assert not together & {
        ("high", "wide"),
        ("changed", "short"),
        ("composed", "in another order"),
        ("changed", "of four"),
    }


def test_guided_and_unguided_rows_of_klein_share_passes(guided_klein):
    tasks = named(
        make_drawing("guided", guidance_scale=3.0),
        make_drawing("free", LONG, seed=2, steps=9),
        make_drawing("strong", seed=3, guidance_scale=7.5, steps=3),
    )
    stream = Stream(guided_klein.transformer)
    for task in tasks.values():
        stream.add(guided_klein, task)
    stream.finish()

    check(stream, tasks, lambda _task: guided_klein)
    assert ("guided", "free", "strong") in stream.passes


def test_references_cost_klein_tokens(klein):
    merge = merge_for(klein.transformer)
    stream = Stream(klein.transformer)
    stream.add(klein, make_drawing("short"))
    stream.add(klein, make_drawing("composed", images=[painted("blue"), painted("red", 96, 64)]))
    (_, plain), (_, composed) = stream._runs.values()

    assert merge.tokens(plain) == WORDS + 16
    assert merge.tokens(composed) == WORDS + 16 + 16 + 24


Z_IMAGE = named(
    make_drawing("small", guidance_scale=0.0),
    make_drawing("square", guidance_scale=0.0, seed=2, width=96, height=96),
    make_drawing("larger", guidance_scale=0.0, seed=3, width=160, height=160, steps=6),
    make_drawing("guided", LONG, guidance_scale=4.0, seed=4, width=128, height=96, steps=5),
    make_drawing("avoiding", guidance_scale=2.0, negative_prompt="blue", seed=5, width=96, height=128),
    make_drawing("long", LONG * 2, guidance_scale=0.0, seed=6),
)
REDRAWN = named(
    make_redrawing("redrawn", "red", guidance_scale=0.0, seed=7, width=96, height=96, steps=7),
    make_redrawing("redrawn hard", "teal", guidance_scale=3.0, seed=8, width=128, height=128, strength=0.9),
    make_redrawing("redrawn a little", "blue", guidance_scale=0.0, seed=9, strength=0.2),
)


def test_every_picture_of_a_mixed_stream_of_z_image_is_the_one_it_would_be_alone(z_image, redrawing):
    def pipeline_of(task):
        return redrawing if task.task == IMAGE_TO_IMAGE else z_image

    tasks = Z_IMAGE | REDRAWN
    stream = Stream(z_image.transformer)
    for task in tasks.values():
        stream.add(pipeline_of(task), task)
        stream.run_pass()
    stream.add(z_image, make_drawing("cancelled", guidance_scale=0.0, seed=10, width=96, height=96, steps=9))
    run_until_a_pass_of(stream, "cancelled")
    stream.cancel("cancelled")
    stream.finish()

    check(stream, tasks, pipeline_of)
    together = pairs(stream)
    assert {("larger", "square"), ("guided", "long"), ("avoiding", "redrawn"), ("cancelled", "redrawn")} <= together


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [(4096 + 32, 4096 + 512, True), (4032 + 32, 4128 + 64, True), (1024 + 32, 4096 + 32, False), (1024, 2304, False)],
)
def test_rows_of_z_image_share_passes_while_padding_costs_less_than_they_do(one, other, together):
    assert (band(one) == band(other)) is together


def test_latents_of_klein_are_unpacked_as_its_decoder_takes_them(klein):
    taken: list[torch.Tensor] = []
    decode = klein.vae.decode
    klein.vae.bn.running_mean.uniform_(-1, 1)
    klein.vae.bn.running_var.uniform_(0.5, 2)

    def taking(latents, **how):
        taken.append(latents)
        return decode(latents, **how)

    klein.vae.decode = taking
    try:
        made = alone(klein, make_drawing("wide", width=128))
    finally:
        klein.vae.bn.reset_running_stats()
        del klein.vae.decode

    assert made.latents[-1].shape == (1, 4, 8, 16)
    assert torch.allclose(made.latents[-1], taken[0], atol=1e-5)
    see = decoder_of(klein)
    assert see is not None
    assert see(made.latents[-1]).shape == (1, 3, 64, 128)


@pytest.mark.parametrize("family", ["klein", "z_image"])
def test_a_picture_has_the_size_asked_for_though_it_is_computed_in_whole_patches(family, request):
    made = alone(request.getfixturevalue(family), make_drawing("odd", width=72, height=88, steps=1))

    assert made.pixels.shape == (88, 72, 3)


@pytest.fixture
def engine_for(monkeypatch):
    """An engine of a pipeline's own folder, which has learned that sharing pays; and who shared its passes."""
    monkeypatch.setattr("inference.engine.cost_model.CostTable.cap", lambda _self, limit, _unit=1: limit)
    engines = []

    def made(pipeline, *tasks):
        engine = DiffusionEngine(make_model("tiny", tasks=tasks, repo=pipeline.name_or_path, dtype="float32"))
        engine.load("cpu")
        engines.append(engine)
        return engine

    yield made
    for engine in engines:
        engine.unload()


def rows_of_passes(engine, main):
    """Filled by each pass of its transformer, whose rows are those of the argument `main`."""
    seen: list[int] = []
    engine._batch._denoiser.register_forward_pre_hook(
        lambda _module, args, given: seen.append(len(args[0] if args else given[main])), with_kwargs=True
    )
    return seen


def check_engine(engine, tasks, joins, cancelled, pipeline_of):
    """Tasks join after so many passes; the last is cancelled after two more and is not made."""
    made = play(engine, [*tasks, cancelled], [*joins, 1], [*(None for _ in tasks), 3])

    assert set(made) == {task.id for task in tasks}
    for task in tasks:
        expected = alone(pipeline_of(task), task).pixels.astype(int)
        assert abs(made[task.id].astype(int) - expected).max() <= 1, task.id
    assert engine.free_rows == engine.form["rows"]


def test_the_engine_makes_the_pictures_that_klein_alone_makes(klein, engine_for):
    engine = engine_for(klein, TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE)
    with_short_prompts(engine._pipelines[""])
    passes = rows_of_passes(engine, "hidden_states")
    tasks = [KLEIN[name] for name in ("short", "long", "composed", "composed too", "wide")]

    check_engine(engine, tasks, (0, 2, 0, 1, 1), make_drawing("cancelled", seed=10, steps=9), lambda _task: klein)
    assert max(passes) > 1


def test_the_engine_makes_the_pictures_that_z_image_alone_makes(z_image, redrawing, engine_for):
    engine = engine_for(z_image, TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
    passes = rows_of_passes(engine, "x")
    known = Z_IMAGE | REDRAWN
    tasks = [known[name] for name in ("square", "larger", "guided", "redrawn", "redrawn hard", "small")]
    cancelled = make_drawing("cancelled", guidance_scale=0.0, seed=10, width=96, height=96, steps=9)

    check_engine(
        engine, tasks, (0, 1, 0, 2, 1, 0), cancelled, lambda task: redrawing if task.task == IMAGE_TO_IMAGE else z_image
    )
    assert max(passes) > 3


def test_klein_encodes_words_and_pictures_to_refer_to_once(klein, monkeypatch):
    seen: list[str] = []

    def counted(part, method):
        real = getattr(part, method)

        def call(*args, **how):
            seen.append(method)
            return real(*args, **how)

        monkeypatch.setattr(part, method, call)

    counted(klein.text_encoder, "forward")
    counted(klein.vae, "encode")
    replaced = Conditions().replacing(klein)
    own = holding(klein, Held(methods={}, replaced=replaced))
    first, other = (alone(own, make_drawing("composed", seed=seed, images=COMPOSED)) for seed in (1, 2))

    assert sorted(seen) == ["encode", "encode", "encode", "forward"]
    assert (first.pixels != other.pixels).any()
    assert (first.pixels == alone(klein, make_drawing("composed", seed=1, images=COMPOSED)).pixels).all()
