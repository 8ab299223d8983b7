"""Each command of README and docs that makes or reads pictures runs as it is typed, on the shipped models."""

import asyncio
import json
import re
import shlex
import threading
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from bot.commands import COMMANDS
from bot.ports import RenderedImage, TaskOutput
from bot.runtime.lock import DataLock
from composition.settings import ROOT, load_settings
from inference.engine.base import Engine, ImageReady, TaskDone, TaskFailed, build_engine
from inference.images.metadata import generation_metadata
from tests.application_fixture import make_config, open_test_application
from tests.cli.app_fixture import STORAGE, TestComposition
from tests.commands import assert_exists
from tests.images_in_process import InProcessImages
from tests.web.fake_pool import TestPool
from training.control_sheets import read_sheets
from training.draw import render_scene
from training.world import Scene, Thing

pytestmark = [
    # Diffusers' schedulers against NumPy 2.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
SHEETS = re.compile(r"^```sh sheet=.*?^```", re.MULTILINE | re.DOTALL)
"""Each runs on the results of others."""
TYPED = sorted(
    {
        line
        for page in PAGES
        for line in re.findall(r"^(?:\| `)?(easel [^`#\n]+)", SHEETS.sub("", page.read_text(encoding="utf-8")), re.M)
        if line.split()[1] in COMMANDS and "--help" not in line
    }
)
SHOWN = sorted(
    {
        line.strip()
        for page in PAGES
        for line in re.findall(r"(?:^|`)(easel [a-z][^`#\n]*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
)
JOB_COMMANDS = ("history", "show", "fetch", "cancel", "export")
REFUSED = {
    "edit ": "I can't edit pictures here yet; the owner can add a model.",
    "blend ": "No model here takes reference pictures.",
    "ask .*--together": "sees one picture at a time: ask about each of them alone.",
    "preview .*--kind depth": "I can't make depth maps here yet",
    "ask .*--adapter ward": "There is no adapter \u201cward\u201d: this model has none.",
}
"""What the shipped models cannot do, by what is typed."""
ENGINES: dict[str, Engine] = {}
ONE_TASK = threading.Lock()
"""Engines belong to one thread; several files of one command are jobs that run together."""


@pytest.fixture(scope="module", autouse=True)
def engines():
    torch.set_num_threads(1)
    yield
    for engine in ENGINES.values():
        engine.unload_model()
    ENGINES.clear()


class EnginePool(TestPool):
    """Runs real engines in a thread of this process, one task at a time."""

    def __init__(self, models, images):
        super().__init__(models)
        self._images = images

    async def run_task(self, task):
        if task.is_safety_check:
            yield TaskOutput(scores=(0.0,) * len(task.images))
            return
        raws, result = await asyncio.to_thread(run_alone, task)
        images = []
        for raw in raws:
            parameters, easel = generation_metadata(task, raw)
            size = (raw.width, raw.height)
            media = await self._images.encode_image(raw.pixels, *size, parameters=parameters, easel=easel)
            images.append(RenderedImage(media=media, width=size[0], height=size[1], parameters=parameters, nsfw=0.0))
        yield TaskOutput(images=tuple(images), text=result.text, revision="test", seconds=0.1, notes=result.notes)


def run_alone(task):
    with ONE_TASK:
        return run_engine(task)


def run_engine(task):
    name = task.model.name
    if name not in ENGINES:
        ENGINES[name] = build_engine(task.model)
        ENGINES[name].load_model("cpu")
    ENGINES[name].add_task(task)
    images = []
    while True:
        for event in ENGINES[name].step():
            match event:
                case TaskFailed(error=error):
                    raise error
                case ImageReady(image=image):
                    images.append(image)
                case TaskDone(result=result):
                    return images, result


class ShippedModels(TestComposition):
    """With fewer denoising steps."""

    __test__ = False

    def load(self, config):
        shipped = load_settings(environ={"EASEL_DATA_DIR": str(self.data_dir)})
        specs = [replace(spec, steps=2) for spec in shipped.models.all_specs if spec.demo]
        return make_config(self.data_dir, specs, storage=STORAGE, styles=shipped.settings["styles"])

    @asynccontextmanager
    async def open_application(self, loaded, only_submitted=True):
        images = InProcessImages()
        pool = EnginePool([spec.name for spec in loaded.models.all_specs], images)
        with DataLock(self.data_dir):
            async with open_test_application(loaded, pool, images, only_submitted=only_submitted) as application:
                yield application.usecases


@pytest.fixture
def composition(data_dir):
    return ShippedModels(data_dir)


@pytest.fixture
def files(folder, data_dir):
    """What the commands name: a photo, a mask, a wildcard and LoRAs."""
    for name in ("photos", "shoes", "cut"):
        (folder / name).mkdir()
    pictures = {"photo.png": "fox", "photo.jpg": "dog", "photos/photo.png": "cat", "shoes/shoe.png": "boot"}
    pictures |= {"a.png": "apple", "b.png": "bell", "before.png": "leaf", "after.png": "tree"}
    for name, thing in pictures.items():
        Image.fromarray(render_scene(Scene((Thing(thing),), "green"))).save(folder / name)
    Image.radial_gradient("L").convert("RGB").resize((192, 128)).save(folder / "wide.jpg")
    mask = Image.new("RGBA", (128, 128), (0, 0, 0, 0))
    ImageDraw.Draw(mask).ellipse((20, 20, 60, 60), fill="black")
    mask.save(folder / "mask.png")
    for name in ("wildcards", "loras"):
        (data_dir / name).mkdir()
    (data_dir / "wildcards" / "animal.txt").write_text("cat\n")
    key = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k"
    for name in ("ink", "zorp"):
        save_file(
            {f"{key}.lora_A.weight": torch.ones(2, 128), f"{key}.lora_B.weight": torch.ones(128, 2)},
            data_dir / "loras" / f"{name}.safetensors",
        )


def test_the_pages_show_each_command():
    assert {line.split()[1] for line in TYPED} == set(COMMANDS)


@pytest.mark.parametrize("line", SHOWN)
def test_every_command_and_option_that_is_shown_exists(line):
    for one in re.findall(r"[a-z]+", re.findall(r"\S+\\\|\S+|$", line)[0]) or [""]:
        words = shlex.split(re.sub(r"\S+\\\|\S+", one, line))[1:]

        assert_exists([word for word in words if word != "--help"])


def test_commands_about_jobs_run_as_they_are_shown(call, files, folder):
    job = json.loads(call("imagine", "a red circle", "--json").out)["id"]
    table = re.findall(r"`(easel [a-z][^`#\n]*)`", PAGES[0].read_text(encoding="utf-8"))
    lines = [line for line in table if line.split()[1].split("\\|")[0] in JOB_COMMANDS]
    shown = [line.replace(line.split()[1], name) for line in lines for name in line.split()[1].split("\\|")]
    values = {"JOB": job[:6], "JOB/2": f"{job}/1", "WORDS": "circle"}
    assert {line.split()[1] for line in shown} == set(JOB_COMMANDS)

    for line in shown:
        (folder / "images.zip").unlink(missing_ok=True)
        words = [values.get(word, word) for word in line.split()[1:]]
        result = call(*words)

        assert result.code == (1 if words[0] == "cancel" else 0), (line, result.err)
        assert result.out or "can no longer be cancelled" in result.err


@pytest.mark.parametrize("line", TYPED)
def test_a_command_runs_as_it_is_typed(line, call, files, folder):
    words = shlex.split(line)[1:]

    result = call(*words)

    refusal = next((REFUSED[typed] for typed in REFUSED if re.match(f"easel {typed}", line)), "")
    if refusal:
        assert result.code == 2
        assert refusal in result.err
        return
    assert result.code == 0, result.err
    assert result.out.strip()
    if words[0] == "grid":
        assert all((folder / path).exists() for path in result.out.split())
    elif COMMANDS[words[0]].answers == "images":
        with Image.open(folder / result.out.strip()) as image:
            assert image.size == expected_size(words)


def expected_size(words):
    if words[0] == "upscale":
        scale = int(words[words.index("--scale") + 1]) if "--scale" in words else 2
        return 128 * scale, 128 * scale
    sizes = {"pan": (128, 192) if words[-1] in ("up", "down") else (192, 128), "square": (192, 192)}
    return sizes.get(words[0], (128, 128))


def test_the_commands_of_the_sheets_run_as_they_are_typed(call, files, folder):
    page = (ROOT / "docs" / "control.md").read_text(encoding="utf-8")
    steps = {step.command: step for sheet in read_sheets(page) for step in sheet.steps}
    for step in steps.values():
        result = call(*step.words)

        assert result.code == 0, (step.command, result.err)
        assert (folder / step.file).exists()
        if step.file == "car.png":  # after two steps no car could be found in it
            Image.fromarray(render_scene(Scene((Thing("car"),), "green"))).save(folder / step.file)
