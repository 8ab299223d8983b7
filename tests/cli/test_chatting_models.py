"""The whole path with a model that chats beside the shipped ones: questions about several images, richer prompts."""

import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import torch
from PIL import Image

from bot.models import IMAGE_TEXT_TO_TEXT, IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.runtime.lock import DataLock
from composition.settings import load_settings
from tests.application_fixture import make_config, open_test_application
from tests.cli.app_fixture import STORAGE, TestComposition
from tests.cli.test_documented_commands import ENGINES, EnginePool
from tests.images_in_process import InProcessImages
from tests.inference.tiny_chat import save_chat
from training.draw import render_scene
from training.world import Scene, Thing

pytestmark = [pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")]
TASKS = (IMAGE_TEXT_TO_TEXT, IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)


class WithChat(TestComposition):
    __test__ = False
    folder = ""

    def load(self, config):
        shipped = load_settings(environ={"EASEL_DATA_DIR": str(self.data_dir)})
        names = ("starter-image", "starter-vision")
        starters = [replace(spec, steps=2) for spec in shipped.models.all_specs if spec.name in names]
        chat = ModelSpec(name="chat", tasks=TASKS, repo=self.folder, max_new_tokens=12)
        return make_config(self.data_dir, [chat, *starters], storage=STORAGE)

    @asynccontextmanager
    async def open_application(self, loaded, only_submitted=True):
        images = InProcessImages()
        pool = EnginePool([spec.name for spec in loaded.models.all_specs], images)
        with DataLock(self.data_dir):
            async with open_test_application(loaded, pool, images, only_submitted=only_submitted) as application:
                yield application.usecases


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory):
    torch.set_num_threads(1)
    yield str(save_chat(tmp_path_factory.mktemp("chat") / "qwen3_vl", "qwen3_vl"))
    for engine in ENGINES.values():
        engine.unload_model()
    ENGINES.clear()


@pytest.fixture
def composition(data_dir, chat_folder):
    made = WithChat(data_dir)
    made.folder = chat_folder
    return made


def test_a_picture_is_drawn_from_the_richer_prompt_which_is_the_same_for_each_seed(call, folder, monkeypatch):
    monkeypatch.setattr("bot.prompts.richer_prompts.MAX_ENHANCED_TOKENS", 24)
    results = [
        call("imagine", "a red bell on a blue background", "--seed", seed, "--enhance", "--out", f"{number}.png")
        for number, seed in enumerate(("3", "4"))
    ]

    assert [result.code for result in results] == [0, 0], results[0].err
    notes = [next(line for line in one.err.splitlines() if "richer prompt" in line) for one in results]
    pictures = [Image.open(folder / f"{number}.png") for number in range(2)]
    made = [json.loads(picture.info["easel"]) for picture in pictures]
    assert len(set(notes)) == 1
    assert pictures[0].tobytes() != pictures[1].tobytes()
    assert {one["unenhanced_prompt"] for one in made} == {"a red bell on a blue background"}
    assert notes[0] == f"The richer prompt: {made[0]['options']['prompt']}"
    assert "Original prompt: a red bell on a blue background" in pictures[0].info["parameters"]


def test_one_question_is_about_all_images_and_a_starter_answers_each_alone(call, folder):
    for name in ("bell", "hat"):
        Image.fromarray(render_scene(Scene((Thing(name),), "green"))).save(folder / f"{name}.png")

    together = call("ask", "bell.png", "hat.png", "what differs?", "--together", "--json")
    alone = call("ask", "bell.png", "hat.png", "what is it?", "--model", "starter-vision")

    job = json.loads(together.out)
    assert (together.code, job["options"]["model"]) == (0, "chat")
    assert len(job["images"]) == 2
    assert job["result"]["text"].strip()
    assert [line.partition(":")[0] for line in alone.out.splitlines()] == ["bell.png", "hat.png"]
