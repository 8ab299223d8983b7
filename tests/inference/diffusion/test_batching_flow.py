"""FLUX.2 klein and Z-Image with continuous batching, compared with their stock pipelines one image at a time."""

import itertools

import pytest
import torch
from diffusers import Flux2KleinPipeline, ZImageImg2ImgPipeline, ZImagePipeline
from PIL import Image

from bot.jobs import Media
from bot.models import IMAGE_TEXT_TO_IMAGE, IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import TaskImage
from inference.diffusion.batching import batching_rule_for
from inference.diffusion.batching_flow import length_bucket
from inference.diffusion.coroutines import InterceptedCalls, with_proxies
from inference.diffusion.embedding_cache import EmbeddingCache
from inference.diffusion.engine import DiffusionEngine
from inference.diffusion.previews import preview_decoder
from tests.inference.diffusion.test_batching import run_stream
from tests.inference.families import save_klein, save_z_image
from tests.inference.stream import Stream, check_stream, generate_alone
from tests.inference.support import make_model, make_task, png

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
LONG = "what is a red fox on the blue background , a cat : the question on a red background ?"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)
    with torch.no_grad():
        yield


def load_pipeline(pipeline_class, save, folder):
    pipeline = pipeline_class.from_pretrained(save(folder), local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


PROMPT_TOKENS = 32
"""Tokens that klein's prompts are padded to here; 512 would be most of the work."""


def with_short_prompts(pipeline):
    encode = pipeline.encode_prompt
    pipeline.encode_prompt = lambda **arguments: encode(**(arguments | {"max_sequence_length": PROMPT_TOKENS}))
    return pipeline


@pytest.fixture(scope="module")
def klein(tmp_path_factory):
    return with_short_prompts(load_pipeline(Flux2KleinPipeline, save_klein, tmp_path_factory.mktemp("flow") / "klein"))


@pytest.fixture(scope="module")
def guided_klein(klein):
    """The base model, which is not distilled and supports guidance."""
    pipeline = Flux2KleinPipeline(**klein.components, is_distilled=False)
    pipeline.set_progress_bar_config(disable=True)
    return with_short_prompts(pipeline)


@pytest.fixture(scope="module")
def z_image(tmp_path_factory):
    return load_pipeline(ZImagePipeline, save_z_image, tmp_path_factory.mktemp("flow") / "z-image")


@pytest.fixture(scope="module")
def image_to_image(z_image):
    pipeline = ZImageImg2ImgPipeline(**z_image.components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def reference_generator(pipeline_for):
    """A function that generates each task's image once, with the stock pipeline."""
    images = {}

    def generate_reference(task):
        if task.id not in images:
            images[task.id] = generate_alone(pipeline_for(task), task)
        return images[task.id]

    return generate_reference


@pytest.fixture(scope="module")
def klein_reference(klein):
    return reference_generator(lambda _task: klein)


@pytest.fixture(scope="module")
def z_image_reference(z_image, image_to_image):
    return reference_generator(lambda task: image_to_image if task.task == IMAGE_TO_IMAGE else z_image)


def gradient(colour, width=64, height=64):
    image = Image.linear_gradient("L").resize((width, height))
    return Media(
        png(Image.composite(Image.new("RGB", (width, height), colour), image.convert("RGB"), image)), "image/png"
    )


def make_request(name, prompt="a red fox", *, seed=1, images=(), **options):
    task = IMAGE_TEXT_TO_IMAGE if images else TEXT_TO_IMAGE
    defaults = {"steps": 4, "guidance_scale": 1.0, "width": 64, "height": 64, "seed": seed, "negative_prompt": ""}
    roles = ("init", *("reference",) * 3)
    given = tuple(TaskImage(role, media) for role, media in zip(roles, images, strict=False))
    model = make_model(tasks=(TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE), max_images=4)
    return make_task(prompt, id=name, task=task, model=model, options=defaults | options, images=given)


def make_img2img(name, colour, **options):
    task = make_request(name, images=[gradient(colour)], **({"strength": 0.6} | options))
    return make_task(task.options["prompt"], id=name, task=IMAGE_TO_IMAGE, options=task.options, images=task.images)


def by_id(*tasks):
    return {task.id: task for task in tasks}


COMPOSED = (gradient("lime"), gradient("teal", 96, 64), gradient("red", 64, 96))
REORDERED = (gradient("lime"), gradient("teal", 64, 96), gradient("red", 96, 64))


def pairs(stream):
    """Pairs of tasks that shared a pass, each in alphabetical order."""
    return {pair for names in stream.passes for pair in itertools.combinations(sorted(names), 2)}


def run_until_a_pass_of(stream, name):
    while not any(name in names for names in stream.passes):
        stream.run_pass()


KLEIN = by_id(
    make_request("short"),
    make_request("long", LONG, seed=2, steps=6),
    make_request("wide", seed=3, width=128),
    make_request("high", seed=4, height=128),
    make_request("changed", seed=5, images=[gradient("red")]),
    make_request("composed", seed=6, images=[gradient("blue"), gradient("red", 96, 64), gradient("teal", 64, 96)]),
    make_request("composed too", LONG, seed=7, steps=7, images=COMPOSED),
    make_request("in another order", seed=8, images=REORDERED),
    make_request("of four", seed=9, steps=3, images=[gradient(one) for one in ("red", "teal", "blue", "lime")]),
)  # fmt: skip


def test_every_image_of_a_mixed_stream_of_klein_equals_the_one_generated_alone(klein, klein_reference):
    stream = Stream(klein.transformer)
    for task in KLEIN.values():
        stream.add(klein, task)
        stream.run_pass()
    stream.add(klein, make_request("cancelled", seed=10, steps=9))
    run_until_a_pass_of(stream, "cancelled")
    stream.cancel("cancelled")
    stream.run_all()

    check_stream(stream, KLEIN, klein_reference)
    shared = pairs(stream)
    assert {("long", "short"), ("cancelled", "long"), ("composed", "composed too")} <= shared
    assert not shared & {
        ("high", "wide"),
        ("changed", "short"),
        ("composed", "in another order"),
        ("changed", "of four"),
    }


def test_guided_and_unguided_rows_of_klein_share_passes(guided_klein):
    tasks = by_id(
        make_request("guided", guidance_scale=3.0),
        make_request("free", LONG, seed=2, steps=9),
        make_request("strong", seed=3, guidance_scale=7.5, steps=3),
    )
    stream = Stream(guided_klein.transformer)
    for task in tasks.values():
        stream.add(guided_klein, task)
    stream.run_all()

    check_stream(stream, tasks, reference_generator(lambda _task: guided_klein))
    assert ("guided", "free", "strong") in stream.passes


def test_reference_images_add_to_kleins_token_count(klein):
    rule = batching_rule_for(klein.transformer)
    stream = Stream(klein.transformer)
    stream.add(klein, make_request("short"))
    stream.add(klein, make_request("composed", images=[gradient("blue"), gradient("red", 96, 64)]))
    (_, plain), (_, composed) = stream._pending.values()

    assert rule.count_tokens(plain) == PROMPT_TOKENS + 16
    assert rule.count_tokens(composed) == PROMPT_TOKENS + 16 + 16 + 24


Z_IMAGE = by_id(
    make_request("small", guidance_scale=0.0),
    make_request("square", guidance_scale=0.0, seed=2, width=96, height=96),
    make_request("larger", guidance_scale=0.0, seed=3, width=160, height=160, steps=6),
    make_request("guided", LONG, guidance_scale=4.0, seed=4, width=128, height=96, steps=5),
    make_request("avoiding", guidance_scale=2.0, negative_prompt="blue", seed=5, width=96, height=128),
    make_request("long", LONG * 2, guidance_scale=0.0, seed=6),
)
IMG2IMG = by_id(
    make_img2img("redrawn", "red", guidance_scale=0.0, seed=7, width=96, height=96, steps=7),
    make_img2img("redrawn hard", "teal", guidance_scale=3.0, seed=8, width=128, height=128, strength=0.9),
    make_img2img("redrawn a little", "blue", guidance_scale=0.0, seed=9, strength=0.2),
)


def test_every_image_of_a_mixed_stream_of_z_image_equals_the_one_generated_alone(
    z_image, image_to_image, z_image_reference
):
    tasks = Z_IMAGE | IMG2IMG
    stream = Stream(z_image.transformer)
    for task in tasks.values():
        stream.add(image_to_image if task.task == IMAGE_TO_IMAGE else z_image, task)
        stream.run_pass()
    stream.add(z_image, make_request("cancelled", guidance_scale=0.0, seed=10, width=96, height=96, steps=9))
    run_until_a_pass_of(stream, "cancelled")
    stream.cancel("cancelled")
    stream.run_all()

    check_stream(stream, tasks, z_image_reference)
    shared = pairs(stream)
    assert {("larger", "square"), ("guided", "long"), ("avoiding", "redrawn"), ("cancelled", "redrawn")} <= shared


@pytest.mark.parametrize(
    ("one", "other", "is_shared"),
    [(4096 + 32, 4096 + 512, True), (4032 + 32, 4128 + 64, True), (1024 + 32, 4096 + 32, False), (1024, 2304, False)],
)
def test_rows_of_z_image_share_passes_while_padding_costs_less_than_they_do(one, other, is_shared):
    assert (length_bucket(one) == length_bucket(other)) is is_shared


def test_latents_of_klein_are_unpacked_to_the_layout_of_its_decoder(klein):
    decoded: list[torch.Tensor] = []
    decode = klein.vae.decode
    klein.vae.bn.running_mean.uniform_(-1, 1)
    klein.vae.bn.running_var.uniform_(0.5, 2)

    def recording_decode(latents, **options):
        decoded.append(latents)
        return decode(latents, **options)

    klein.vae.decode = recording_decode
    try:
        image = generate_alone(klein, make_request("wide", width=128))
    finally:
        klein.vae.bn.reset_running_stats()
        del klein.vae.decode

    assert image.latents[-1].shape == (1, 4, 8, 16)
    assert torch.allclose(image.latents[-1], decoded[0], atol=1e-5)
    decode_preview = preview_decoder(klein)
    assert decode_preview is not None
    assert decode_preview(image.latents[-1]).shape == (1, 3, 64, 128)


@pytest.mark.parametrize("family", ["klein", "z_image"])
def test_an_image_has_the_requested_size_although_it_is_computed_in_whole_patches(family, request):
    image = generate_alone(request.getfixturevalue(family), make_request("odd", width=72, height=88, steps=1))

    assert image.pixels.shape == (88, 72, 3)


@pytest.fixture
def engine_for(monkeypatch):
    """An engine for a pipeline's folder that batches all sequences that are waiting."""
    monkeypatch.setattr("inference.engine.cost_model.PassCostModel.best_size", lambda _self, limit, _unit=1: limit)
    engines = []

    def load(pipeline, *tasks):
        engine = DiffusionEngine(make_model("tiny", tasks=tasks, repo=str(pipeline.name_or_path), dtype="float32"))
        engine.load_model("cpu")
        engines.append(engine)
        return engine

    yield load
    for engine in engines:
        engine.unload_model()


def rows_of_passes(engine, batch_argument):
    """Batch rows of each pass of its transformer, by the length of this argument."""
    rows: list[int] = []
    engine._step_loop.modules["transformer"].module.register_forward_pre_hook(
        lambda _module, args, kwargs: rows.append(len(args[0] if args else kwargs[batch_argument])), with_kwargs=True
    )
    return rows


def check_engine(engine, tasks, joins, cancelled, generate_reference):
    """Tasks join after `joins` passes; `cancelled` joins after one and is cancelled after two more."""
    images = run_stream(engine, [*tasks, cancelled], [*joins, 1], [*(None for _ in tasks), 3])

    assert set(images) == {task.id for task in tasks}
    for task in tasks:
        expected = generate_reference(task).pixels.astype(int)
        assert abs(images[task.id].astype(int) - expected).max() <= 1, task.id
    assert engine.free_slots == engine.capabilities["rows"]


def test_the_engine_generates_the_same_images_as_klein_alone(klein, klein_reference, engine_for):
    engine = engine_for(klein, TEXT_TO_IMAGE, IMAGE_TEXT_TO_IMAGE)
    with_short_prompts(engine._pipelines[""])
    passes = rows_of_passes(engine, "hidden_states")
    tasks = [KLEIN[name] for name in ("short", "long", "composed", "composed too", "wide")]

    check_engine(engine, tasks, (0, 2, 0, 1, 1), make_request("cancelled", seed=10, steps=9), klein_reference)
    assert max(passes) > 1


def test_the_engine_generates_the_same_images_as_z_image_alone(z_image, z_image_reference, engine_for):
    engine = engine_for(z_image, TEXT_TO_IMAGE, IMAGE_TO_IMAGE)
    passes = rows_of_passes(engine, "x")
    requests = Z_IMAGE | IMG2IMG
    tasks = [requests[name] for name in ("square", "larger", "guided", "redrawn", "redrawn hard", "small")]
    cancelled = make_request("cancelled", guidance_scale=0.0, seed=10, width=96, height=96, steps=9)

    check_engine(engine, tasks, (0, 1, 0, 2, 1, 0), cancelled, z_image_reference)
    assert max(passes) > 3


def test_klein_encodes_equal_prompts_and_reference_images_once(klein, monkeypatch):
    calls: list[str] = []

    def record_calls(component, method):
        original = getattr(component, method)

        def call(*args, **kwargs):
            calls.append(method)
            return original(*args, **kwargs)

        monkeypatch.setattr(component, method, call)

    record_calls(klein.text_encoder, "forward")
    record_calls(klein.vae, "encode")
    cached = EmbeddingCache().cached_methods(klein)
    proxied = with_proxies(klein, InterceptedCalls(methods={}, overrides=cached))
    first, other = (generate_alone(proxied, make_request("composed", seed=seed, images=COMPOSED)) for seed in (1, 2))

    assert sorted(calls) == ["encode", "encode", "encode", "forward"]
    assert (first.pixels != other.pixels).any()
    assert (first.pixels == generate_alone(klein, make_request("composed", seed=1, images=COMPOSED)).pixels).all()
