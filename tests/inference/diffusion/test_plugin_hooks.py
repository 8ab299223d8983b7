"""Plugins that change how images are computed, on a tiny Stable Diffusion with random weights."""

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.ports import TaskImage
from inference.diffusion.plugin_hooks import _copy
from inference.engine.base import ImageReady, StepDone, TaskDone, build_engine
from inference.engine.plugins.plugin_host import PluginHost
from inference.ipc.plugin_messages import PluginFailed
from tests.inference.plugin_files import write_plugin
from tests.inference.support import make_model, make_task
from tests.inference.tiny import save_diffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
OPTIONS = {"steps": 4, "guidance_scale": 3.0, "width": 32, "height": 32, "negative_prompt": "", "sampler": ""}
SCALE = """
    SETTINGS = {"scale": 0.9}

    def easel_applies(task):
        return "plain" not in task.options["prompt"]

    def easel_step(latents, step, plugin):
        return latents * plugin.settings["scale"]
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    torch.set_num_threads(1)
    folder = save_diffusion(tmp_path_factory.mktemp("models") / "tiny")
    engine = build_engine(make_model("tiny", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo=str(folder)))
    engine.load_model("cpu")
    yield engine
    engine.unload_model()


@pytest.fixture
def host(engine, tmp_path, monkeypatch):
    """The engine's plugins; `sent` is what the parent would be told."""
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    sent: list[object] = []
    host: Any = PluginHost(sent.append)
    host.sent, host.data_dir = sent, tmp_path
    engine.plugins = engine._plugin_hooks._plugins = host
    return host


def enable(host, *sources, **settings):
    host.set_plugins(
        [write_plugin(host.data_dir, f"p{number}", source, **settings) for number, source in enumerate(sources)]
    )


def run(engine, *tasks):
    """The images by task and index, the notes by task, and how many images the passes held."""
    sizes: list[int] = []
    images: dict[tuple[str, int], numpy.ndarray] = {}
    notes: dict[str, list[str]] = {}
    make_pass = engine._step_loop._make_pass

    def count_pass(called, module, batch):
        sizes.append(len(batch))
        return make_pass(called, module, batch)

    engine._step_loop._make_pass = count_pass
    try:
        for task in tasks:
            engine.plugins.start_task(task)
            engine.add_task(task)
        while len(notes) < len(tasks):
            for event in engine.step():
                if isinstance(event, ImageReady):
                    pixels = numpy.frombuffer(event.image.pixels, numpy.uint8)
                    images[event.task_id, event.image.index] = pixels.astype(int)
                elif isinstance(event, TaskDone):
                    notes[event.task_id] = engine.plugins.take_notes(event.task_id)
                else:
                    assert isinstance(event, StepDone), event
    finally:
        engine._step_loop._make_pass = make_pass
    return images, notes, sizes


def request(id="job", prompt="a fox", **options):
    return make_task(prompt, id=id, model=make_model("tiny"), options=OPTIONS | options)


def difference(one, other):
    return abs(one - other).max()


def paint(engine, task):
    images, notes, _ = run(engine, task)
    return images[task.id, 0], notes[task.id]


def test_a_step_hook_changes_its_image_as_the_same_pipeline_with_that_callback(engine, host):
    plain, _ = paint(engine, request())
    enable(host, "def easel_step(latents, step, steps, image): return latents * 0.5 if step == steps else None")
    changed, notes = paint(engine, request())

    assert difference(plain, changed) > 1
    assert notes == []


def test_a_hook_after_generation_gets_what_the_last_step_left(engine, host):
    enable(host, "def easel_step(latents, step, steps): return latents * 2 + 1 if step == steps else None")
    expected, _ = paint(engine, request())
    enable(
        host,
        "def easel_after_generate(latents): return latents + 1",
        "def easel_step(latents, step, steps): return latents * 2 if step == steps else None",
    )
    changed, notes = paint(engine, request())

    assert difference(changed, expected) == 0
    assert notes == []


def test_images_with_the_same_hooks_share_passes_and_equal_each_alone(engine, host):
    enable(host, SCALE)
    alone = [paint(engine, request(seed=seed))[0] for seed in (1, 2)]

    images, _, sizes = run(engine, request("one", seed=1), request("two", seed=2))

    assert max(difference(images[id, 0], of) for id, of in zip(("one", "two"), alone, strict=True)) <= 1
    assert max(sizes) == 2


def test_images_to_which_different_hooks_apply_share_no_pass_and_change_neither(engine, host):
    enable(host, SCALE)
    hooked, _ = paint(engine, request(seed=1))
    plain, _ = paint(engine, request(prompt="a plain fox", seed=2))

    images, _, sizes = run(engine, request("one", seed=1), request("two", prompt="a plain fox", seed=2))

    assert difference(images["one", 0], hooked) <= 1
    assert difference(images["two", 0], plain) <= 1
    assert set(sizes) == {1}


def test_plugins_change_the_latents_in_their_order(engine, host):
    double = "def easel_step(latents, step, steps): return latents * 2 if step == steps else None"
    shift = "def easel_step(latents, step, steps): return latents + 1 if step == steps else None"
    enable(host, double, shift)
    images = [paint(engine, request())[0]]
    enable(host, shift, double)
    images.append(paint(engine, request())[0])
    both = "def easel_step(latents, step, steps): return latents * 2 + 1 if step == steps else None"
    enable(host, both)
    expected, _ = paint(engine, request())

    assert difference(images[0], expected) == 0
    assert difference(images[1], expected) > 0


def test_a_hook_changes_arguments_of_the_pipeline(engine, host):
    asked, _ = paint(engine, request(guidance_scale=6.0))
    enable(host, "def easel_before_generate(arguments): return {'guidance_scale': arguments['guidance_scale'] * 2}")

    assert difference(paint(engine, request())[0], asked) == 0


def test_a_hook_cannot_reach_the_prompts_that_other_images_use(engine, host):
    before, _ = paint(engine, request())
    enable(host, "def easel_before_generate(arguments): arguments['prompt_embeds'].zero_()")

    assert difference(paint(engine, request())[0], before) == 0
    host.set_plugins([])
    assert difference(paint(engine, request())[0], before) == 0


def test_another_strength_makes_no_more_steps_than_were_asked_for(engine, host):
    enable(host, "def easel_before_generate(arguments): return {'strength': 1.0}")
    photo = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(photo, "PNG")
    images = (TaskImage("init", Media(photo.getvalue(), "image/png")),)

    _, notes, passes = run(engine, replace(request(strength=0.1), task=IMAGE_TO_IMAGE, images=images))

    assert (notes["job"], len(passes)) == ([], OPTIONS["steps"])


def test_a_hook_cannot_change_the_pictures_and_options_of_a_task(host):
    enable(
        host,
        """
        def easel_applies(task):
            task.options["prompts"][0] = "other words"
        """,
    )
    task = request(prompts=["a fox"])
    host.start_task(task)
    picture = Image.new("RGB", (8, 8), "red")
    _copy({"images": (picture,)})["images"][0].putpixel((0, 0), (0, 0, 255))

    assert task.options["prompts"] == ["a fox"]
    assert picture.getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def easel_step(latents): raise ValueError('of the plugin')", "ValueError: of the plugin (line 1 of p0.py)"),
        ("def easel_step(latents): latents.zero_(); return 7", "must return a torch.Tensor or None, not int"),
        ("def easel_step(latents): return latents[..., :2]", "but the latents are torch.float32 (1, 4, 4, 4)"),
        ("def easel_step(latents): return latents / 0", "not finite"),
        ("def easel_before_generate(): return {'prompt': 'other words'}", "cannot change prompt: easel_prompt"),
        ("def easel_before_generate(): return {'num_inference_steps': 50}", "cannot change num_inference_steps"),
        ("def easel_before_generate(): return {'sigmas': [1.0] * 50}", "cannot change sigmas"),
        ("def easel_before_generate(): return {'strenght': 1}", "takes no argument strenght"),
        ("def easel_before_generate(): return 1", "must return a dict or None, not int"),
        ("def easel_applies(): return 'yes'", "must return True, False or None, not str"),
        ("def easel_before_generate(): return {'guidance_scale': 'high'}", "TypeError"),
        (
            "def easel_before_generate(arguments): return {'prompt_embeds': arguments['prompt_embeds'][:, :, :1]}",
            "Error",
        ),
    ],
)
def test_a_hook_that_fails_costs_its_effect_and_a_note(engine, host, source, problem):
    plain, _ = paint(engine, request())
    enable(host, source)

    image, notes = paint(engine, request())

    assert difference(image, plain) == 0
    assert [note.partition(":")[0] for note in notes] == ["The plugin p0 had no effect"]
    assert problem in next(one for one in host.sent if isinstance(one, PluginFailed)).problem


def test_only_the_image_that_a_plugin_has_spoiled_is_made_again(engine, host):
    plain, _ = paint(engine, request(seed=8))
    enable(
        host,
        """
        def easel_before_generate(image, arguments):
            return {"guidance_scale": "high"} if image.index == 1 else {"guidance_scale": 6.0}
        """,
    )
    images, notes, _ = run(engine, request(count=2, seed=7))

    assert difference(images["job", 1], plain) == 0
    host.set_plugins([])
    assert difference(images["job", 0], paint(engine, request(seed=7, guidance_scale=6.0))[0]) == 0
    assert notes["job"] == ["The plugin p0 had no effect: it failed."]


def test_hires_fix_calls_the_hooks_in_both_of_its_runs(engine, host):
    enable(
        host,
        """
        def easel_before_generate(plugin, arguments):
            with (plugin.folder / "calls").open("a") as calls:
                calls.write("image" if "image" in arguments else "text")
        """,
    )
    run(engine, request(hires=1.5, hires_steps=2, hires_strength=0.5, width=32, height=32))

    assert (host.data_dir / "plugins/state/p0/calls").read_text() == "textimage"


def test_a_models_trial_run_meets_no_plugin(engine, host):
    enable(host, "def easel_step(latents): raise ValueError")

    assert paint(engine, replace(request(), is_trial=True))[1] == []


def test_a_plugin_changes_a_model_when_it_is_loaded(engine, host):
    enable(host, "def easel_model_loaded(pipeline, model): pipeline.scheduler.of_plugin = model")

    host.model_loaded("tiny", engine._pipelines[""])

    assert engine._pipelines[""].scheduler.of_plugin == "tiny"


def test_no_plugin_takes_a_models_own_safety_filter_away(host):
    enable(host, "def easel_model_loaded(pipeline): pipeline.safety_checker = None")
    pipeline = SimpleNamespace(safety_checker="a filter")

    host.model_loaded("filtered", pipeline)

    assert pipeline.safety_checker == "a filter"


def test_images_of_a_model_that_a_plugin_could_not_change_say_so(engine, host):
    enable(host, "def easel_model_loaded(): raise ValueError")
    host.model_loaded("tiny", engine._pipelines[""])

    assert paint(engine, request())[1] == ["The plugin p0 had no effect: it failed."]
