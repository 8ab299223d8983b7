"""The plugins for devices in docs/plugins.md run as they are typed there, on a tiny Stable Diffusion."""

import re
from typing import Any

import numpy
import pytest
import torch

from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from bot.plugins.hookspecs import WorkerHooks
from bot.plugins.registry import hook_names
from inference.engine.base import ImageReady, TaskDone, build_engine
from inference.engine.plugins.decoded_images import change_decoded
from inference.engine.plugins.plugin_host import PluginHost
from inference.ipc.environment import ROOT
from inference.ipc.plugin_messages import PluginFailed
from tests.inference.plugin_files import write_plugin
from tests.inference.support import make_model, make_task
from tests.inference.tiny import save_diffusion

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"^```python\n# plugins/(\w+)\.py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
OPTIONS = {"steps": 3, "guidance_scale": 3.0, "width": 32, "height": 32, "negative_prompt": "", "sampler": ""}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.set_num_threads(1)
    folder = save_diffusion(tmp_path_factory.mktemp("models") / "tiny")
    return make_model("tiny", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo=str(folder))


@pytest.fixture
def paint(model, tmp_path, monkeypatch):
    """Makes an image with an example of the page, or without plugins."""
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))

    def paint(example="", **options):
        reports: list[object] = []
        engine: Any = build_engine(model)
        engine.plugins = PluginHost(reports.append)
        engine.plugins.set_plugins([write_plugin(tmp_path, example, EXAMPLES[example])] if example else [])
        engine.load_model("cpu")
        task = make_task("a fox", model=model, options=OPTIONS | options, is_result=True)
        engine.plugins.start_task(task)
        engine.add_task(task)
        events: list[object] = []
        while not any(isinstance(event, TaskDone) for event in events):
            events += engine.step()
        [image] = [change_decoded(engine.plugins, "job", one.image) for one in events if isinstance(one, ImageReady)]
        engine.unload_model()
        assert not [one for one in reports if isinstance(one, PluginFailed)]
        return numpy.frombuffer(image.pixels, numpy.uint8).reshape(32, 32, 3).astype(int)

    return paint


def test_every_hook_of_the_worker_is_in_an_example():
    defined = set(re.findall(r"^def (easel_\w+)", "\n".join(EXAMPLES.values()), re.MULTILINE))

    assert defined >= hook_names(WorkerHooks)


def test_the_guidance_limit_makes_the_image_of_that_guidance(paint):
    assert (paint("guidance_limit", guidance_scale=20.0) == paint(guidance_scale=8.0)).all()


@pytest.mark.parametrize("example", ["neutral_colours", "softer", "free_u"])
def test_the_other_examples_change_the_image(paint, example):
    assert (paint(example) != paint()).any()


def test_a_black_and_white_picture_has_no_colours(paint):
    pixels, colours = paint("black_and_white"), paint()

    assert (pixels == pixels[..., :1]).all()
    assert abs(pixels[..., 0] - colours @ [0.299, 0.587, 0.114]).max() <= 0.5
