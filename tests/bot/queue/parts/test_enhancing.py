"""Prompts that a model makes richer: which model, the price, what becomes of its answer, and the gates."""

from dataclasses import replace

import pytest

from bot.commands import Imagine
from bot.commands.defaults import repeat_options
from bot.commands.parts import parts_of
from bot.commands.prompt_enhancing import MAX_ENHANCED_TOKENS, UNENHANCED
from bot.error_texts import explain, format_note
from bot.errors import Blocked, EngineError, InvalidOption, JobCancelled
from bot.models import (
    IMAGE_TEXT_TO_TEXT,
    IMAGE_TO_TEXT,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    ZERO_SHOT_IMAGE_CLASSIFICATION,
    ModelRegistry,
)
from bot.options import MAX_PROMPT
from bot.ports import ENHANCE, Task, TaskAddon, TaskOutput
from bot.prompts.richer_prompts import own_prompt_at, read_enhanced
from bot.queue.parts.enhancing import EnhanceFinish, EnhancePreparation
from inference.images.metadata import generation_metadata
from inference.images.metadata_reader import parse_generation_metadata
from inference.ipc.messages import RawImage
from tests.fakes import make_job, make_model

SEEING = (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)
PAINTER = make_model(name="painter", tasks=(TEXT_TO_IMAGE,))
BLIP = make_model(name="blip", tasks=SEEING)
GEMMA = make_model(name="gemma", tasks=(IMAGE_TEXT_TO_TEXT, *SEEING))
SMOL = replace(GEMMA, name="smol", memory_mb=900, enabled=False)
RICHER = "A red fox in deep snow, low winter sun"


def registry(*models):
    return ModelRegistry({model.name: model for model in models})


def make_task(model=PAINTER, **options):
    given = {"prompt": "a fox", "count": 1, "seed": 7, "enhance": True} | options
    return Task(id="job", command="imagine", task=TEXT_TO_IMAGE, model=model, options=given)


async def must_not_run(_part: Task) -> TaskOutput:
    raise AssertionError("a finish runs a part")


async def prepare(task, *models, answer=RICHER):
    asked = []

    async def run_part(part):
        asked.append(part)
        if isinstance(answer, Exception):
            raise answer
        return TaskOutput(text=answer if isinstance(answer, str) else answer(part))

    registered = registry(*(models or (PAINTER, BLIP, GEMMA)))
    return await EnhancePreparation(models=registered).prepare(task, run_part), asked


async def test_a_model_that_chats_writes_the_prompt_and_the_persons_own_is_kept_beside_it():
    prepared, (part,) = await prepare(make_task())

    assert prepared.options["prompt"] == RICHER
    assert prepared.options[UNENHANCED] == {"prompt": "a fox"}
    assert [format_note(note) for note in prepared.notes] == [f"The richer prompt: {RICHER}"]
    assert (part.command, part.task, part.model.name) == (ENHANCE, VISUAL_QUESTION_ANSWERING, "gemma")
    assert (part.images, part.rules, part.options["temperature"]) == ((), None, 0.0)
    assert part.options["question"].endswith("Prompt: a fox")
    assert part.id.startswith("job")


async def test_without_the_option_nothing_runs():
    task = make_task(enhance=False)

    assert await prepare(task) == (task, [])


async def test_each_different_prompt_of_a_job_is_written_once_and_keeps_its_tags():
    prompts = ["a (fox:1.3) <lora:ink:0.8>", "a cat", "a cat"]
    prepared, asked = await prepare(
        make_task(prompt=prompts[0], prompts=prompts, count=3), answer=lambda part: f"{part.options['prompt']} in snow"
    )

    assert [part.options["prompt"] for part in asked] == ["a fox", "a cat"]
    assert prepared.options["prompts"] == ["a fox in snow <lora:ink:0.8>", "a cat in snow", "a cat in snow"]
    output = await EnhanceFinish().finish(prepared, TaskOutput(), must_not_run)
    assert list(output.prompts) == prepared.options["prompts"]
    assert len({part.id for part in asked}) == 2


@pytest.mark.parametrize("answer", [EngineError("broken"), "", "  ", "A FOX", "()"])
async def test_where_no_richer_prompt_comes_the_persons_own_is_drawn(answer):
    prepared, _ = await prepare(make_task(), answer=answer)

    assert prepared.options == make_task().options
    assert [format_note(note) for note in prepared.notes] == [
        "The prompt could not be made richer, so it was used as it is."
    ]


async def test_a_prompt_without_words_is_not_made_up():
    prepared, asked = await prepare(make_task(prompt="<lora:ink:1>"))

    assert (prepared.options["prompt"], asked, len(prepared.notes)) == ("<lora:ink:1>", [], 1)


async def test_a_model_that_was_removed_while_the_job_waited_costs_nothing_but_the_riches():
    prepared, asked = await prepare(make_task(), PAINTER, BLIP)

    assert (prepared.options["prompt"], asked, len(prepared.notes)) == ("a fox", [], 1)


@pytest.mark.parametrize("error", [Blocked("enhanced"), JobCancelled()])
async def test_what_ends_the_job_is_not_taken_for_a_failure_of_the_model(error):
    with pytest.raises(type(error)):
        await prepare(make_task(), answer=error)


@pytest.mark.parametrize(
    ("answer", "prompt"),
    [
        (
            '"A fox, (very:1.4) [red|blue] {a|b} <lora:evil:2> __dir__ \\"',
            "A fox, very:1.4 red blue a b lora:evil:2 dir",
        ),
        ("**Enhanced prompt:** A fox\n\nin  snow", "A fox in snow"),
        ("Prompt: \u201cA fox\u201d", "A fox"),
        ("A prompt officer BREAK out", "A prompt officer break out"),
        ("fox\u202e\x00 \x1b[31m here", "fox 31m here"),
    ],
)
def test_an_answer_is_read_as_words_alone(answer, prompt):
    assert read_enhanced(answer, "x") == prompt


def test_an_answer_that_is_too_long_is_cut_between_words_before_the_tags():
    text = read_enhanced("word " * 900, "x <lora:ink:0.8>")

    assert len(text) <= MAX_PROMPT
    assert text.endswith("word <lora:ink:0.8>")


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        ((PAINTER, BLIP), "No installed model can make prompts richer: leave enhance out."),
        (
            (PAINTER, BLIP, SMOL, replace(SMOL, name="large", memory_mb=9000)),
            "No installed model can make prompts richer: leave enhance out, or the owner can add one that chats, for "
            "example with `easel models use smol`.",
        ),
    ],
)
def test_without_a_model_that_can_the_request_is_refused_before_it_costs(models, sentence):
    command = Imagine.from_options({"prompt": "a fox", "enhance": "yes"})
    options = command.fill_options(PAINTER, 7)

    with pytest.raises(InvalidOption) as refused:
        parts_of(command, options, registry(*models))

    assert explain(refused.value) == sentence


async def test_what_a_prompt_moves_away_from_is_not_asked_for_and_stays_with_its_embeddings():
    prompt = "a fox, (people:-1.2) BREAK (a \\(red\\) car:-1), (snow:0) <cat-toy> <lora:ink:0.8>"
    addons = (TaskAddon("<cat-toy>", "inversion", "/toy"), TaskAddon("badhands", "inversion", "/bad"))

    prepared, (part,) = await prepare(replace(make_task(prompt=prompt), addons=addons), answer="A fox on a hill")

    assert part.options["prompt"] == "a fox, <cat-toy>"
    assert prepared.options["prompt"] == ("A fox on a hill <cat-toy> (people:-1.2) (a \\(red\\) car:-1) <lora:ink:0.8>")


def test_repeating_a_job_leaves_out_what_no_installed_model_can_do_any_more():
    earlier = {"enhance": True, "best": 4, "count": 4, "steps": 9}
    matching = make_model(name="match", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,))

    repeated = [
        repeat_options(Imagine, {"prompt": "a fox"}, earlier, (), registry(PAINTER, *others))
        for others in ((BLIP,), (GEMMA, matching))
    ]

    assert repeated == [{"prompt": "a fox", "steps": 9}, {"prompt": "a fox", **earlier}]


def test_tags_that_leave_no_room_for_words_keep_the_prompt_as_it_was():
    assert read_enhanced("a fox in the snow", " ".join(f"<lora:{'x' * 90}{number:04}:1>" for number in range(20))) == ""


def test_each_different_prompt_is_paid_for():
    options = {"prompt": "a fox", "count": 4, "enhance": True, "model": "painter"}
    parts = [
        parts_of(Imagine(values=options), {**options, **more}, registry(PAINTER, GEMMA))
        for more in ({}, {"prompts": ["a", "b", "a", "c"]}, {"enhance": False})
    ]

    assert [[(part.model.name, part.units) for part in each] for each in parts] == [
        [("gemma", (MAX_ENHANCED_TOKENS, 0.0, 1))] * count for count in (1, 3, 0)
    ]


def test_a_file_has_both_prompts_and_repeats_the_picture_from_the_richer_one():
    task = make_task(prompt=RICHER, steps=20, **{UNENHANCED: {"prompt": "a fox, red"}})
    image = RawImage(index=0, width=8, height=8, pixels=b"", seed=9, sampler="ddim", revision="r1")

    parameters, easel = generation_metadata(task, image)

    assert parameters.startswith(f"{RICHER}\n")
    assert 'Original prompt: "a fox, red"' in parameters
    assert '"unenhanced_prompt": "a fox, red"' in easel
    for texts in ({"easel": easel}, {"parameters": parameters}):
        options = (parse_generation_metadata(texts) or {})["options"]
        assert options["prompt"] == RICHER
        assert not {"enhance", UNENHANCED} & set(options)


def test_the_option_stays_with_the_job_so_that_it_is_repeated_from_the_persons_own_words():
    options = Imagine.from_options({"prompt": "a fox", "enhance": True}).fill_options(PAINTER, 7)

    assert (options["prompt"], options["enhance"]) == ("a fox", True)
    assert make_job(options=options).options["enhance"]


def test_pictures_are_compared_with_the_persons_own_words():
    plain = {"prompt": "a fox", "prompts": ["a fox", "a cat"]}

    assert [own_prompt_at(plain, index) for index in range(2)] == ["a fox", "a cat"]
    assert own_prompt_at({"prompt": RICHER, UNENHANCED: plain}, 1) == "a cat"
