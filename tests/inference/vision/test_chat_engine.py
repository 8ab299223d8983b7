"""Vision-language models that chat: each text equals that of `generate` for it alone, whatever runs beside it."""

import dataclasses
import json
from typing import Any, ClassVar

import pytest
import torch

from bot.errors import EngineError, ModelUnavailable
from bot.jobs import TextUsage
from bot.memory.placement import Residency
from bot.ports import ENHANCE, RANK
from inference.checkpoints.chat_families import FAMILIES
from inference.engine.base import StepDone, TaskDone, build_engine
from inference.memory.offload import OffloadHook, offloader_of
from inference.vision.chat.chat_engine import MAX_SEQUENCES, ChatEngine
from inference.vision.chat.chat_inputs import open_image
from inference.vision.chat.chat_loader import NEEDS_TORCHVISION, chat_components
from inference.vision.chat.conversation import conversation_of, ranking_of
from inference.vision.sequence import generation_arguments
from scripts.chat_families import END, PAGE, START, family_row, family_table
from tests.inference.chat_requests import TASKS, THREAD, ask, make_loader
from tests.inference.support import make_model
from tests.inference.tiny_chat import MAKERS, save_chat
from tests.inference.vision_reference import answer, make_request, plain_image, run_task

TESTED = sorted(name for name, family in FAMILIES.items() if family.image_processor)
THOROUGH = ("gemma4", "qwen3_5", "qwen3_vl", "smolvlm")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    return make_loader(tmp_path_factory)


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


@pytest.mark.parametrize("family", TESTED)
def test_each_answer_equals_that_of_generate_alone(load, family):
    engine = load(family)
    tasks = [
        ask(id="short", min_new_tokens=8),
        ask("and what is on the red background ? " * 3, "blue", "green", id="two"),
        ask("is it red ?", "white", id="sampled", temperature=1.3, top_p=0.9, top_k=20, seed=3, min_new_tokens=6),
        ask("is it blue ?", "red", id="thread", thread=THREAD, repetition_penalty=1.4),
        ask("is it a cat ?", "black", id="beams", num_beams=3, length_penalty=0.5),
    ]

    answers = run_together(engine, tasks if family in THOROUGH else tasks[:3])

    assert answers == {task.id: reference(engine, task) for task in tasks if task.id in answers}
    assert len(set(answers.values())) > 2
    assert isinstance(engine, ChatEngine)
    assert engine.capabilities["rows"] == MAX_SEQUENCES


def test_progress_carries_the_answer_so_far(load):
    events = run_task(load("qwen3_vl"), ask(min_new_tokens=8))

    texts = [event.text for event in events if isinstance(event, StepDone)]
    assert texts[-1] == events[-1].result.text
    assert texts[-1].startswith(texts[3])
    assert 0 < len(texts[3]) < len(texts[-1])


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An engine that generates one text after another."""
    monkeypatch.setattr("inference.vision.chat.chat_engine.has_joinable_cache", lambda _: False)
    engine = build_engine(make_model(tasks=TASKS, repo=str(save_chat(tmp_path, "qwen3_vl"))))
    engine.load_model("cpu")
    return engine


def test_a_model_whose_cache_cannot_be_joined_answers_one_text_after_another(alone):
    tasks = [ask(id="one", min_new_tokens=8), ask("is it blue ?", "blue", id="two", temperature=1.2, seed=5)]

    assert alone.capabilities["rows"] == alone.free_slots == 1
    assert run_together(alone, tasks) == {task.id: reference(alone, task) for task in tasks}
    texts = [event.text for event in run_task(alone, tasks[0]) if isinstance(event, StepDone)]
    assert 0 < len(texts[4]) < len(texts[-1])


@pytest.mark.parametrize("beams", [1, 2])
@pytest.mark.parametrize("is_alone", [False, True])
def test_tokens_are_counted_and_a_text_that_may_be_no_longer_is_cut(load, alone, is_alone, beams):
    engine = alone if is_alone else load("qwen3_vl")
    task = ask("is it blue ?", "red", "blue", thread=THREAD, num_beams=beams, min_new_tokens=6, max_new_tokens=6)
    prompt = engine._inputs.build(conversation_of(task, 2), [open_image(image.media) for image in task.images], 6)

    assert run_task(engine, task)[-1].result.usage == TextUsage(read=len(prompt.token_ids), written=6, is_cut=True)


def test_captions_are_of_one_image_each_and_on_one_line(load):
    engine = load("qwen3_vl")
    red, blue = make_request(), make_request(colour="blue")

    lines = answer(engine, dataclasses.replace(red, images=red.images + blue.images)).splitlines()

    assert lines == [f"1. {answer(engine, red)}", f"2. {answer(engine, blue)}"]


@pytest.mark.parametrize("family", ["gemma4", "qwen3_5", "qwen3_vl"])
def test_texts_alone_are_answered_and_made_richer_beside_questions_about_images(load, family):
    engine = load(family)
    plain = dataclasses.replace(ask("a red fox"), images=())
    wanted: list[dict[str, Any]] = [{"min_new_tokens": 6}, {"question": "a blue cat", "min_new_tokens": 8}]
    alone = [
        dataclasses.replace(plain, id=str(number), command=ENHANCE, options={**plain.options, **options})
        for number, options in enumerate(wanted)
    ]
    tasks = [ask(id="image"), dataclasses.replace(plain, id="text"), *alone]

    answers = run_together(engine, tasks)

    assert answers == {task.id: reference(engine, task) for task in tasks}


def test_the_documentation_lists_the_families_that_work(load):
    table = PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]

    found = ((family, load(family).capabilities if family in TESTED else None) for family in FAMILIES)
    made = family_table(family_row(*one) for one in found)
    assert table == made, "run python -m scripts.chat_families"
    assert set(FAMILIES) == set(MAKERS)


# ---------------------------------------------------------------- number formats


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gemma4", {"dtype": "bfloat16"}),
        ("qwen3_5", {"dtype": "bfloat16"}),
        ("qwen3_vl", {"dtype": "float16"}),
        ("internvl", {"quantize": "8bit", "dtype": "bfloat16"}),
        ("smolvlm", {"quantize": "4bit", "dtype": "bfloat16"}),
    ],
)
def test_each_format_answers_and_ranks(load, monkeypatch, family, settings):
    monkeypatch.setattr("inference.memory.planner.MIN_LAYER_WEIGHTS", 64)
    engine = load(family, **settings)
    tasks = [ask(id="one", min_new_tokens=4), ask("is it blue ?", "blue", "red", id="two", min_new_tokens=4)]

    answers = run_together(engine, tasks)

    assert set(answers) == {"one", "two"}
    assert [score.logit for score in rank(engine, "a fox", "red", "blue").matches]
    assert engine.capabilities["dtype"] == settings.get("dtype", "float32")
    assert bool(engine.capabilities.get("weights")) == ("quantize" in settings)


class AwayHook(OffloadHook):
    """What is not on the device is NaN. `originals`: the weights by their ids."""

    originals: ClassVar[dict[int, torch.Tensor]] = {}

    def init_hook(self, module):
        self.offload(module)
        return module

    def pre_forward(self, module, *args, **kwargs):
        for weight in module.parameters():
            weight.data.copy_(self.originals[id(weight)])
        return args, kwargs

    def offload(self, module):
        for weight in module.parameters():
            weight.data.fill_(torch.nan)


@pytest.mark.parametrize("family", ["gemma4", "internvl", "qwen3_vl", "smolvlm"])
def test_every_part_can_be_offloaded_between_its_calls(tmp_path, monkeypatch, family):
    engine = ChatEngine(make_model(tasks=TASKS, repo=str(save_chat(tmp_path, family))))
    engine.load_model("cpu")
    tasks = [ask(id="one", min_new_tokens=8), ask(id="beams", num_beams=2)]
    expected = run_together(engine, tasks), rank(engine, "a fox", "red").matches
    offloader = offloader_of(engine._module)
    assert offloader is not None
    weights = [*engine._module.parameters()]
    monkeypatch.setattr(AwayHook, "originals", {id(weight): weight.detach().clone() for weight in weights})
    monkeypatch.setattr("inference.memory.offload.OffloadHook", AwayHook)

    for name, part in chat_components(engine._module).items():
        offloader._place(name, part, Residency.ON_DEMAND)

    assert any(weight.isnan().all() for weight in weights)
    assert (run_together(engine, tasks), rank(engine, "a fox", "red").matches) == expected


# ---------------------------------------------------------------- rankings


def rank(engine, text, *colours):
    task = dataclasses.replace(ask("", *colours), command=RANK, options={"text": text})
    return run_task(engine, task)[-1].result


def test_images_are_ranked_by_the_probability_of_yes(load):
    engine = load("qwen3_vl")
    images = [open_image(plain_image(colour).media) for colour in ("red", "blue")]

    scores = [score.logit for score in rank(engine, "a fox", "red", "blue").matches]

    for image, score in zip(images, scores, strict=True):
        prompt = engine._inputs.build(ranking_of("a fox"), [image], 1)
        with torch.no_grad():
            logits = engine._module(**prompt.inputs).logits[0, -1]
        yes, no = (logits[ids].logsumexp(0) for ids in (engine._ids_of_yes, engine._ids_of_no))
        assert score == pytest.approx(float(yes - no), abs=1e-4)
    assert engine._processor.tokenizer.decode(engine._ids_of_yes) == "Yy"
    assert scores[0] != scores[1]


def test_a_ranking_shares_the_engine_with_answers(load):
    engine = load("qwen3_vl")
    alone = answer(engine, ask(min_new_tokens=8)), rank(engine, "a fox", "red", "blue")

    engine.add_task(ask(min_new_tokens=8, id="asked"))
    engine.add_task(dataclasses.replace(ask("", "red", "blue", id="ranked"), command=RANK, options={"text": "a fox"}))
    done: dict[str, Any] = {}
    while len(done) < 2:
        done |= {event.task_id: event.result for event in engine.step() if isinstance(event, TaskDone)}

    assert (done["asked"].text, done["ranked"]) == alone


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_5"])
def test_cancelling_frees_the_place_and_leaves_the_others(load, family):
    engine = load(family)
    expected = answer(engine, ask("is it blue ?", "blue", min_new_tokens=8))
    engine.add_task(ask(id="gone", min_new_tokens=8))
    for _ in range(3):
        engine.step()

    engine.cancel_task("gone")

    assert engine.free_slots == engine.capabilities["rows"]
    assert answer(engine, ask("is it blue ?", "blue", min_new_tokens=8)) == expected


def test_a_caption_without_an_image_is_refused(load):
    with pytest.raises(EngineError):
        load("qwen3_vl").add_task(dataclasses.replace(make_request(), images=()))


def test_time_is_charged_and_the_cost_of_a_token_is_measured(load):
    engine = load("qwen3_vl")
    engine.take_usage()
    task = ask(min_new_tokens=8)
    run_task(engine, task)

    assert set(engine.take_usage()) == {"job"}
    assert {sample.what for sample in engine.cost_samples(task)} == {"token", "job"}


def test_reducing_memory_halves_the_batch(tmp_path):
    engine = build_engine(make_model(tasks=TASKS, repo=str(save_chat(tmp_path, "internvl"))))
    engine.load_model("cpu")
    rows = engine.free_slots

    assert engine.reduce_memory() == "rows"
    assert engine.free_slots == rows // 2
    assert run_task(engine, ask())
    engine.unload_model()


def test_a_family_that_needs_torchvision_says_so(tmp_path):
    change(save_chat(tmp_path, "qwen3_vl") / "config.json", model_type="lfm2_vl")
    engine = build_engine(make_model(tasks=TASKS, repo=str(tmp_path)))

    with pytest.raises(ModelUnavailable) as refused:
        engine.load_model("cpu")

    assert refused.value.detail == NEEDS_TORCHVISION


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: change(folder / "config.json", model_type="aria"), "it is of the family aria"),
        (
            lambda folder: change(folder / "config.json", quantization_config={"quant_method": "fp8"}),
            "quantized in its",
        ),
        (lambda folder: (folder / "config.json").write_text("[]"), "its config.json cannot be read"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "it has no chat template"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "its processor cannot be built"),
        (lambda folder: (folder / "model.safetensors").unlink(), ""),
    ],
)
def test_a_folder_that_cannot_be_used_says_why(tmp_path, spoil, sentence):
    spoil(save_chat(tmp_path, "qwen3_vl"))
    engine = build_engine(make_model(tasks=TASKS, repo=str(tmp_path)))

    with pytest.raises(ModelUnavailable) as refused:
        engine.load_model("cpu")

    assert sentence in refused.value.detail
    assert "Traceback" not in refused.value.detail
