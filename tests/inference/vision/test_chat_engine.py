"""Vision-language models that chat: each text equals that of `generate` for it alone, whatever runs beside it."""

import dataclasses

import pytest
import torch

from bot.errors import EngineError
from bot.models import IMAGE_TEXT_TO_TEXT, IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING
from bot.ports import ENHANCE
from inference.engine.base import StepDone, TaskDone, build_engine
from inference.vision.chat.chat_engine import ChatEngine
from inference.vision.chat.chat_inputs import open_image
from inference.vision.chat.conversation import conversation_of
from inference.vision.sequence import generation_arguments
from tests.inference.support import make_model
from tests.inference.tiny_chat import MAKERS, save_chat
from tests.inference.vision_reference import answer, make_request, plain_image, run_task

TASKS = (IMAGE_TEXT_TO_TEXT, IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)
BATCHED = sorted(set(MAKERS) - {"qwen3_5"})


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Returns a function of a family, whose engine is loaded when first asked for."""
    made = {}

    def engine(family, **settings):
        key = (family, *settings.items())
        if key not in made:
            folder = tmp_path_factory.mktemp("chat") / family
            made[key] = build_engine(make_model(tasks=TASKS, repo=str(save_chat(folder, family)), **settings))
            made[key].load_model("cpu")
        return made[key]

    return engine


def ask(question="what is this ?", *colours, id="job", thread=(), **options):
    """About an image of each colour."""
    request = make_request(question, id=id, max_new_tokens=10, thread=thread, **options)
    images = tuple(plain_image(colour) for colour in colours or ("red",))
    return dataclasses.replace(request, images=images)


@torch.no_grad()
def reference(engine, task):
    """The answer of Transformers' own `generate` to the task alone."""
    images = [open_image(image.media) for image in task.images]
    count = task.options["max_new_tokens"]
    prompt = engine._inputs.build(conversation_of(task, len(images)), images, count)
    torch.manual_seed(task.options["seed"])
    ids = engine._module.generate(**prompt.inputs, **generation_arguments(task.options, count))[0]
    return engine._answers.decode(ids[len(prompt.token_ids) :].tolist())


def run_together(engine, tasks):
    """The answers of tasks of which each starts a few steps after the one before it."""
    waiting, answers = list(tasks), {}
    for number in range(200):
        if waiting and number % 3 == 0 and engine.free_slots:
            engine.add_task(waiting.pop(0))
        for event in engine.step():
            if isinstance(event, TaskDone):
                answers[event.task_id] = event.result.text
        if len(answers) == len(tasks):
            break
    return answers


THREAD = ({"question": "what is this ?", "answer": "a fox"},)


@pytest.mark.parametrize("family", sorted(MAKERS))
def test_each_answer_equals_that_of_generate_alone(load, family):
    engine = load(family)
    tasks = [
        ask(id="short", min_new_tokens=10),
        ask("and what is on the red background ? " * 3, "blue", "green", id="two"),
        ask("is it red ?", "white", id="sampled", temperature=1.3, top_p=0.9, top_k=20, seed=3, min_new_tokens=6),
        ask("is it blue ?", "red", id="thread", thread=THREAD, repetition_penalty=1.4),
        ask("is it a cat ?", "black", id="beams", num_beams=3, length_penalty=0.5),
    ]

    answers = run_together(engine, tasks)

    assert answers == {task.id: reference(engine, task) for task in tasks}
    assert len(set(answers.values())) > 2
    assert isinstance(engine, ChatEngine)
    assert (engine.capabilities["rows"] > 1) == (family in BATCHED)


def test_progress_carries_the_answer_so_far(load):
    for family in ("qwen3_vl", "qwen3_5"):
        events = run_task(load(family), ask(min_new_tokens=10))
        texts = [event.text for event in events if isinstance(event, StepDone)]
        assert texts[-1] == events[-1].result.text
        assert texts[-1].startswith(texts[3]) and 0 < len(texts[3]) < len(texts[-1])


def test_captions_are_of_one_image_each_and_on_one_line(load):
    engine = load("qwen3_vl")
    red, blue = make_request(), make_request(colour="blue")

    lines = answer(engine, dataclasses.replace(red, images=red.images + blue.images)).splitlines()

    assert lines == [f"1. {answer(engine, red)}", f"2. {answer(engine, blue)}"]


@pytest.mark.parametrize("family", sorted(MAKERS))
def test_a_prompt_is_made_richer_without_an_image_beside_questions_with_one(load, family):
    engine = load(family)
    plain = dataclasses.replace(ask("a red fox"), images=())
    alone = [
        dataclasses.replace(plain, id=str(number), command=ENHANCE, options={**plain.options, **options})
        for number, options in enumerate([{"min_new_tokens": 6}, {"question": "a blue cat", "min_new_tokens": 8}])
    ]
    tasks = [ask(id="image"), *alone]

    answers = run_together(engine, tasks)

    assert answers == {task.id: reference(engine, task) for task in tasks}
    with pytest.raises(EngineError):
        engine.add_task(plain)
