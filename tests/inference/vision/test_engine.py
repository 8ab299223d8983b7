"""The vision engine itself, on tiny BLIP-2 models with OPT and with T5, with random weights."""

import dataclasses
import json
import shutil

import pytest
import torch

from bot.errors import EngineError, InvalidOption, ModelUnavailable
from bot.jobs import TextUsage
from inference.engine.base import StepDone, TaskDone, build_engine
from inference.vision.generation_plan import diversify, first_line, plan_for, prompt_for
from inference.vision.language_model import language_model_for
from inference.vision.sequence import generation_arguments
from tests.inference.support import make_model
from tests.inference.tiny import save_blip
from tests.inference.vision_reference import TASKS, answer, inputs_of, make_request, reference_answer, run_task


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: save_blip(folder / name, name) for name in ("opt", "t5")}


@pytest.fixture(scope="module", params=["opt", "t5"])
def engine(request, folders):
    engine = build_engine(make_model(request.param, tasks=TASKS, repo=str(folders[request.param])))
    engine.load_model("cpu")
    yield engine
    engine.unload_model()


def logits(engine, task):
    """Of the first token after the image and the prompt."""
    inputs = inputs_of(engine, task)
    start = {} if "input_ids" in inputs else {"input_ids": torch.tensor([[*[19] * 4, 2]])}
    if engine._blip.language_model.config.is_encoder_decoder:
        start["decoder_input_ids"] = torch.tensor([[0]])
    with torch.no_grad():
        return engine._blip(**inputs, **start).logits[0, -1]


def test_each_engine_step_is_one_token(engine):
    events = run_task(engine, make_request("what is it ?"))

    steps = [event.step for event in events if isinstance(event, StepDone)]
    assert steps == list(range(1, len(steps) + 1))
    assert 4 <= len(steps) <= 8


def test_the_same_question_gets_the_same_answer(engine):
    assert answer(engine, make_request("what is it ?")) == answer(engine, make_request("what is it ?"))


def test_the_image_reaches_the_language_model_together_with_the_question(engine):
    red, blue = (logits(engine, make_request("what is it ?", colour=colour)) for colour in ("red", "blue"))

    assert not torch.equal(red, blue)


def test_a_processor_without_num_query_tokens_gets_the_models_number(folders, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(folders["opt"], old)
    config = json.loads((old / "processor_config.json").read_text())
    del config["num_query_tokens"]
    (old / "processor_config.json").write_text(json.dumps(config))
    engine = build_engine(make_model("old", tasks=TASKS, repo=str(old)))
    engine.load_model("cpu")

    ids = inputs_of(engine, make_request("what is it ?"))["input_ids"]
    engine.unload_model()

    assert (ids == engine_image_token(folders["opt"])).sum() == 4


def engine_image_token(folder):
    return json.loads((folder / "config.json").read_text())["image_token_index"]


@pytest.mark.parametrize("question", ["", "what is it ?"])
def test_the_answer_does_not_repeat_the_prompt(engine, question):
    task = make_request(question, max_new_tokens=1, min_new_tokens=1)

    assert len(answer(engine, task).split()) <= 1


def test_beams_temperature_and_lengths_take_effect(engine):
    long = run_task(engine, make_request("what is it ?", min_new_tokens=12, max_new_tokens=12))
    sampled = {answer(engine, make_request("what is it ?", temperature=1.9, seed=seed)) for seed in range(8)}
    again = [answer(engine, make_request("what is it ?", temperature=1.9, seed=3)) for _ in range(2)]
    beams = run_task(engine, make_request("what is it ?", num_beams=3))

    assert len([event for event in long if isinstance(event, StepDone)]) == 12
    assert len(sampled) > 1
    assert again[0] == again[1]
    assert isinstance(beams[-1], TaskDone)


def test_cancelling_ends_the_answer_at_its_current_token(engine):
    free = engine.free_slots
    engine.add_task(make_request("what is it ?", min_new_tokens=50, max_new_tokens=50))
    engine.step()
    engine.cancel_task("job")

    assert engine.free_slots == free
    assert run_task(engine, make_request())


@pytest.mark.parametrize(
    ("temperature", "top_p", "sampled_at"),
    [(0.0, 1.0, None), (0.0, 0.9, 1.0), (1.0, 1.0, 1.0), (0.7, 1.0, 0.7)],
    ids=str,
)
def test_a_temperature_or_top_p_switches_sampling_on(temperature, top_p, sampled_at):
    arguments = generation_arguments({"temperature": temperature, "top_p": top_p}, 10)

    assert arguments["do_sample"] is (sampled_at is not None)
    assert arguments.get("temperature") == sampled_at


def test_the_question_is_inserted_into_the_models_template():
    model = make_model(question_template="Q: {question} A:")
    task = dataclasses.replace(make_request("what is {it}?"), model=model)

    assert prompt_for(task, model) == "Q: what is {it}? A:"
    assert prompt_for(make_request(), model) is None


@pytest.mark.parametrize(
    ("raw", "clean"), [(" a fox\n", "a fox"), ("\n\nred\nblue", "red"), ("", ""), ("   ", "")], ids=repr
)
def test_an_answer_is_its_first_nonblank_line(raw, clean):
    assert first_line(raw) == clean


def test_pickled_weights_are_refused(folders, tmp_path):
    pickled = tmp_path / "pickled"
    shutil.copytree(folders["opt"], pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")

    with pytest.raises(ModelUnavailable, match="no safetensors"):
        build_engine(make_model(tasks=TASKS, repo=str(pickled))).load_model("cpu")


# ---------------------------------------------------------------- several texts per task


def make_description(count, **options):
    return dataclasses.replace(make_request(count=count, seed=3, **options), command="describe", answers="lines")


def test_a_description_has_distinct_lines_and_is_reproducible(engine):
    lines = answer(engine, make_description(4)).splitlines()

    assert len({line.casefold() for line in lines}) == len(lines)
    assert 2 <= len(lines) <= 4
    assert answer(engine, make_description(4)).splitlines() == lines


def run_plan(task, *rounds):
    """The specs of each round, and the lines of the plan's answer when these texts are generated."""
    plan = plan_for(task)
    specs = [next(plan)]
    for number, texts in enumerate(rounds):
        try:
            specs.append(plan.send(texts))
        except StopIteration as end:
            assert number == len(rounds) - 1
            return specs, end.value
    return specs, None


def test_a_description_starts_with_the_most_likely_caption_and_samples_the_others():
    task = make_description(3, num_beams=4)

    [specs], lines = run_plan(task, [["a fox"], ["a cat"], ["a dog"]])

    assert lines == ["a fox", "a cat", "a dog"]
    assert specs[0].options == task.options
    assert [spec.options["num_beams"] for spec in specs[1:]] == [1, 1]
    assert 0.5 < specs[1].options["temperature"] < specs[2].options["temperature"]
    assert [spec.seed for spec in specs] == [3, 4, 5]


def test_each_attempt_is_sampled_hotter_up_to_a_limit():
    attempts = [diversify({"temperature": 0.0, "top_p": 1.0}, attempt) for attempt in range(1, 30)]

    assert [options["temperature"] for options in attempts] == sorted(options["temperature"] for options in attempts)
    assert attempts[-1]["temperature"] == 2.0
    assert all(0 < options["top_p"] <= 1 for options in attempts)
    assert diversify({"temperature": 1.5}, 1)["temperature"] == pytest.approx(1.6)


def test_a_description_never_repeats_a_line():
    specs, lines = run_plan(
        make_description(2), [["A fox."], ["a fox"]], [[""]], [["a FOX!"]], [["a fox", "a cat", "a dog"]]
    )

    assert lines == ["A fox.", "a cat"]
    assert [len(round) for round in specs] == [2, 1, 1, 1]
    assert specs[-1][0].return_count == specs[-1][0].num_beams == 4


def test_a_model_with_a_single_caption_gives_one_line():
    _, lines = run_plan(make_description(2), [["a fox"], ["a fox"]], [["a fox"]], [["a fox"]], [["A fox", ""]])

    assert lines == ["a fox"]


def test_a_model_too_confident_to_sample_gives_its_next_most_likely_captions(engine, monkeypatch):
    monkeypatch.setattr("inference.vision.generation_plan.diversify", lambda options, _: dict(options))

    lines = answer(engine, make_description(3)).splitlines()

    assert len({line.casefold() for line in lines}) == len(lines) == 3


def test_the_steps_of_a_description_never_decrease(engine):
    steps = [
        (event.step, event.steps) for event in run_task(engine, make_description(3)) if isinstance(event, StepDone)
    ]

    assert {total for _, total in steps} == {3 * 8}
    assert steps[0] == (3, 24)
    assert [step for step, _ in steps] == sorted(step for step, _ in steps)
    assert max(step for step, _ in steps) == 24


def test_an_album_gets_a_numbered_line_per_image(engine):
    red, blue = make_request("what is it ?"), make_request("what is it ?", colour="blue")
    both = dataclasses.replace(red, images=red.images + blue.images)

    assert answer(engine, both) == f"1. {answer(engine, red)}\n2. {answer(engine, blue)}"


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize("request_of", [make_request, lambda: make_description(2)], ids=["answer", "lines"])
def test_progress_carries_the_answer_so_far(engine, request_of, monkeypatch):
    monkeypatch.setattr(engine, "_decode_answer", lambda _request, token_ids: " ".join(map(str, token_ids)))
    events = run_task(engine, request_of())

    texts = [event.text for event in events if isinstance(event, StepDone)]
    (done,) = (event for event in events if isinstance(event, TaskDone))
    assert texts[-1] == done.result.text
    assert len(set(texts)) > 2
    assert len(texts[1]) < len(texts[-1])


def test_an_image_token_typed_by_a_user_is_ignored(engine):
    typed = answer(engine, make_request("what is <image> <image> it ?"))

    assert typed == answer(engine, make_request("what is it ?"))


def test_a_text_ends_at_the_models_last_position(folders):
    engine = build_engine(make_model(tasks=TASKS, repo=str(folders["opt"])))
    engine.load_model("cpu")
    long = " ".join(["fox"] * 100)

    events = run_task(engine, make_request(long, min_new_tokens=100, max_new_tokens=100))

    steps = [event for event in events if isinstance(event, StepDone)]
    assert steps[-1].step == steps[-1].steps < 100
    with pytest.raises(InvalidOption) as refused:
        engine.add_task(make_request(" ".join(["fox"] * 130)))
    assert refused.value.option == "question"
    assert engine.free_slots == engine.capabilities["rows"]
    engine.unload_model()


def test_a_task_without_an_image_is_refused(engine):
    with pytest.raises(EngineError):
        engine.add_task(dataclasses.replace(make_request(), images=()))

    assert engine.free_slots == engine.capabilities["rows"]


def test_a_model_with_a_setting_the_batch_lacks_uses_generate(engine, folders, monkeypatch):
    language = engine._blip.language_model
    monkeypatch.setattr(language.generation_config, "repetition_penalty", 1.5)

    assert language_model_for(language) is None


def test_a_model_without_batching_uses_generate(folders, monkeypatch):
    monkeypatch.setattr("inference.vision.engine.language_model_for", lambda _: None)
    engine = build_engine(make_model(tasks=TASKS, repo=str(folders["opt"])))
    engine.load_model("cpu")
    tasks = [make_request("what is it ?", temperature=temperature, max_new_tokens=12) for temperature in (0.0, 1.5)]

    assert engine.free_slots == engine.capabilities["rows"] == 1
    assert [answer(engine, task) for task in tasks] == [reference_answer(engine, task) for task in tasks]
    engine.unload_model()


SEARCHES = [{}, {"num_beams": 2}, {"num_beams": 3, "num_return_sequences": 2}]


def counts_of(engine, **options):
    return run_task(engine, make_request("what is it ?", **options))[-1].result.usage


@pytest.mark.parametrize("options", SEARCHES)
def test_tokens_are_counted_and_a_text_that_may_be_no_longer_is_cut(engine, options):
    counts = counts_of(engine, min_new_tokens=8, max_new_tokens=8, **options)

    prompt = inputs_of(engine, make_request("what is it ?"))["input_ids"]
    assert counts == TextUsage(read=prompt.numel(), written=8 * options.get("num_return_sequences", 1), is_cut=True)


@pytest.mark.parametrize("options", SEARCHES)
def test_a_text_that_ends_by_itself_is_not_cut(engine, monkeypatch, options):
    language = engine._blip.language_model
    monkeypatch.setattr(language.generation_config, "eos_token_id", list(range(language.config.vocab_size - 1)))
    counts = counts_of(engine, min_new_tokens=0, max_new_tokens=4, **options)

    assert (counts.written, counts.is_cut) == (options.get("num_return_sequences", 1), False)
