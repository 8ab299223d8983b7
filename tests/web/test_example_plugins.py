"""The plugins of examples/plugins: the watermark on the shipped starter model, the translation with a tiny one."""

import io
import shutil
from dataclasses import replace

import numpy
import pytest
import pytest_asyncio
from PIL import Image

from bot.models import TEXT_TO_IMAGE
from bot.plugins.hook_values import PluginContext, PromptText, Requester
from bot.plugins.server_modules import import_file
from bot.plugins.worker_facts import TaskFacts
from composition.settings import ROOT
from inference.images.service import ImageService
from tests.backends_required import require_backend
from tests.inference.support import finish, make_model, make_task, open_pool
from tests.plugins.plugin_fixture import PluginFolder
from tests.plugins.tiny_marian import save_marian

EXAMPLES = ROOT / "examples" / "plugins"
STARTER = make_model("starter", tasks=(TEXT_TO_IMAGE,), repo="models/starter-image", demo=True)
OPTIONS = {"steps": 1, "guidance_scale": 3.0, "width": 128, "height": 128, "negative_prompt": "", "sampler": ""}
GREY = numpy.full((100, 120, 3), 100, numpy.uint8)


def install(data_dir, name):
    (data_dir / "plugins").mkdir(exist_ok=True)
    shutil.copy(EXAMPLES / f"{name}.py", data_dir / "plugins")
    return PluginFolder(data_dir)


# ---------------------------------------------------------------- the watermark


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def starter(tmp_path_factory, forked_engines):
    """A pool with the shipped starter model, whose plugins are in `data_dir`; and a function that makes an image."""
    data_dir = tmp_path_factory.mktemp("watermark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EASEL_DATA_DIR", str(data_dir))
        async with ImageService() as encoder, install(data_dir, "watermark").manager() as plugins:
            engines = "inference.engine.base:build_engine"
            opened = open_pool([STARTER], engine_factory=engines, encoder=encoder, threads=1, plugins=plugins)
            async with opened as pool:
                plugins.on_switched = pool.refresh_plugins

                async def paint():
                    task = make_task("a red fox", model=STARTER, options=OPTIONS, is_result=True)
                    return await finish(pool, task)

                yield plugins, paint


@pytest.mark.asyncio(loop_scope="module")
async def test_the_watermark_is_in_its_corner_and_the_picture_still_says_that_it_was_generated(starter):
    plugins, paint = starter
    marked = await paint()
    await plugins.set_enabled("watermark", False)
    plain = await paint()
    (one, other) = [Image.open(io.BytesIO(output.images[0].media.data)) for output in (marked, plain)]
    changed = numpy.argwhere((numpy.asarray(one).astype(int) != numpy.asarray(other)).any(axis=2))

    assert marked.notes == plain.notes
    assert len(changed) > 50
    assert changed[:, 0].min() > 100  # in the last rows only
    assert one.info == other.info
    assert "trainedAlgorithmicMedia" in str(one.info)


def load_example(name, tmp_path, **settings):
    """The module, and a context with these settings."""
    module = import_file(f"{name}-example", EXAMPLES / f"{name}.py")
    return module, PluginContext(name=name, settings={**module.SETTINGS, **settings}, folder=tmp_path)


def changed_box(pixels):
    """Left, top, right, bottom of what differs from the grey picture."""
    return Image.fromarray((pixels != GREY).any(axis=2)).getbbox()


@pytest.mark.parametrize(
    ("position", "is_left", "is_top"),
    [
        ("top-left", True, True),
        ("top-right", False, True),
        ("bottom-left", True, False),
        ("bottom-right", False, False),
    ],
)
def test_the_watermark_goes_into_each_corner(tmp_path, position, is_left, is_top):
    module, context = load_example("watermark", tmp_path, text="AI", position=position)
    left, top, right, bottom = changed_box(module.easel_after_decode(context, GREY))

    assert right < 60 if is_left else left > 60
    assert bottom < 50 if is_top else top > 50


def test_opacity_says_how_much_of_the_picture_the_watermark_covers(tmp_path):
    images = []
    for opacity in (0, 0.5, 1):
        module, context = load_example("watermark", tmp_path, text="AI", size=0.4, opacity=opacity)
        images.append(module.easel_after_decode(context, GREY).astype(int))

    faint, full = (abs(image - GREY).max() for image in images[1:])
    assert (images[0] == GREY).all()
    assert full == 155
    assert abs(faint - full / 2) <= 1


def test_an_image_can_be_the_watermark_and_is_never_larger_than_the_picture(tmp_path):
    Image.new("RGBA", (400, 20), (255, 0, 0, 255)).save(tmp_path / "logo.png")
    module, context = load_example("watermark", tmp_path, image="logo.png", opacity=1.0, size=0.5, position="center")
    pixels = module.easel_after_decode(context, GREY)
    left, _, right, _ = changed_box(pixels)

    assert right - left <= 120
    assert (pixels[50, 60] == (255, 0, 0)).all()


def test_the_watermark_can_be_for_some_commands_only(tmp_path):
    module, context = load_example("watermark", tmp_path, commands=["imagine"])
    facts = [make_facts(command) for command in ("imagine", "upscale")]

    assert [module.easel_applies(context, one) for one in facts] == [True, False]


def make_facts(command):
    return TaskFacts(command=command, model="starter", options={})


# ---------------------------------------------------------------- the translation


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses:UserWarning")
async def test_a_prompt_is_translated_and_its_syntax_stays(tmp_path):
    """In this process; docs/plugins.md has an example whose function runs in one of its own."""
    require_backend("sentencepiece")
    module, context = load_example("translate", tmp_path, model=str(save_marian(tmp_path / "marian")))

    async def run_here(function, *args):
        return function(*args)

    context = replace(context, run_in_process=run_here)
    prompts = [
        make_prompt("ein roter Fuchs", "de-AT"),
        make_prompt("unscharf", "de", is_negative=True),
        make_prompt("(ein roter Fuchs:1.3), im Schnee <lora:ink:0.8>", "de"),
    ]

    assert [await module.easel_prompt(context, prompt) for prompt in prompts] == [
        "a red fox",
        "blurry",
        "(a red fox:1.3), in the snow <lora:ink:0.8>",
    ]


@pytest.mark.parametrize(
    ("locale", "is_negative", "settings"),
    [("en", False, {}), ("fr-CA", False, {"languages": ["de", "es"]}), ("de", True, {"negative": False})],
)
async def test_prompts_of_other_languages_are_left_alone(tmp_path, locale, is_negative, settings):
    module, context = load_example("translate", tmp_path, **settings)

    assert await module.easel_prompt(context, make_prompt("ein Fuchs", locale, is_negative=is_negative)) is None


async def test_a_prompt_without_words_needs_no_model(tmp_path):
    module, context = load_example("translate", tmp_path)

    assert await module.easel_prompt(context, make_prompt("<lora:ink:0.8> (((3:1.2)))", "de")) is None


def make_prompt(text, locale, *, is_negative=False):
    by = Requester(person="1", platform="web", locale=locale)
    return PromptText(job="1", text=text, words=text, is_negative=is_negative, command="imagine", model="paint", by=by)
