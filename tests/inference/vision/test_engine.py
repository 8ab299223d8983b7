"""The vision engine itself, on tiny BLIP-2 models with OPT and with T5, with random weights."""

import dataclasses
import json
import shutil

import pytest
import torch

from bot.errors import EngineError, InvalidOption, ModelUnavailable
from inference.engine.base import Over, Step, build
from inference.vision.generation_plan import livelier, prompt_of, tale_of, tidy
from inference.vision.language_model import language_for
from inference.vision.sequence import generation
from tests.inference.support import make_model
from tests.inference.tiny import save_blip
from tests.inference.vision_reference import TASKS, answer, inputs_of, make_request, plain_answer, run


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: save_blip(folder / name, name) for name in ("opt", "t5")}


@pytest.fixture(scope="module", params=["opt", "t5"])
def engine(request, folders):
    engine = build(make_model(request.param, tasks=TASKS, repo=str(folders[request.param])))
    engine.load("cpu")
    yield engine
    engine.unload()


def logits(engine, task):
    """What the model thinks of the first word, given picture and text."""
    inputs = inputs_of(engine, task)
    start = {} if "input_ids" in inputs else {"input_ids": torch.tensor([[*[19] * 4, 2]])}
    if engine._blip.language_model.config.is_encoder_decoder:
        start["decoder_input_ids"] = torch.tensor([[0]])
    with torch.no_grad():
        return engine._blip(**inputs, **start).logits[0, -1]


def test_each_step_is_one_token(engine):
    events = run(engine, make_request("what is it ?"))

    steps = [event.step for event in events if isinstance(event, Step)]
    assert steps == list(range(1, len(steps) + 1))
    assert 4 <= len(steps) <= 8


def test_the_same_question_gets_the_same_answer(engine):
    assert answer(engine, make_request("what is it ?")) == answer(engine, make_request("what is it ?"))


def test_the_picture_reaches_the_language_model_together_with_the_question(engine):
    red, blue = (logits(engine, make_request("what is it ?", colour=colour)) for colour in ("red", "blue"))

    assert not torch.equal(red, blue)


def test_the_picture_is_seen_although_the_folder_forgot_to_say_how_many_tokens_it_is(folders, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(folders["opt"], old)
    config = json.loads((old / "processor_config.json").read_text())
    del config["num_query_tokens"]
    (old / "processor_config.json").write_text(json.dumps(config))
    engine = build(make_model("old", tasks=TASKS, repo=str(old)))
    engine.load("cpu")

    ids = inputs_of(engine, make_request("what is it ?"))["input_ids"]
    engine.unload()

    assert (ids == engine_image_token(folders["opt"])).sum() == 4


def engine_image_token(folder):
    return json.loads((folder / "config.json").read_text())["image_token_index"]


@pytest.mark.parametrize("question", ["", "what is it ?"])
def test_the_answer_does_not_repeat_what_the_model_was_given(engine, question):
    task = make_request(question, max_new_tokens=1, min_new_tokens=1)

    assert len(answer(engine, task).split()) <= 1


def test_beams_temperature_and_lengths_are_obeyed(engine):
    long = run(engine, make_request("what is it ?", min_new_tokens=12, max_new_tokens=12))
    drawn = {answer(engine, make_request("what is it ?", temperature=1.9, seed=seed)) for seed in range(8)}
    again = [answer(engine, make_request("what is it ?", temperature=1.9, seed=3)) for _ in range(2)]
    beams = run(engine, make_request("what is it ?", num_beams=3))

    assert len([event for event in long if isinstance(event, Step)]) == 12
    assert len(drawn) > 1
    assert again[0] == again[1]
    assert isinstance(beams[-1], Over)


def test_cancelling_ends_the_answer_where_it_stands(engine):
    free = engine.free_rows
    engine.admit(make_request("what is it ?", min_new_tokens=50, max_new_tokens=50))
    engine.step()
    engine.cancel("job")

    assert engine.free_rows == free
    assert run(engine, make_request())


@pytest.mark.parametrize(
    ("temperature", "top_p", "drawn_at"), [(0.0, 1.0, None), (0.0, 0.9, 1.0), (1.0, 1.0, 1.0), (0.7, 1.0, 0.7)], ids=str
)
def test_words_are_drawn_at_a_temperature_or_when_some_are_left_out(temperature, top_p, drawn_at):
    arguments = generation({"temperature": temperature, "top_p": top_p}, 10)

    assert arguments["do_sample"] is (drawn_at is not None)
    assert arguments.get("temperature") == drawn_at


def test_the_question_goes_into_the_models_own_template():
    model = make_model(question_template="Q: {question} A:")
    task = dataclasses.replace(make_request("what is {it}?"), model=model)

    assert prompt_of(task, model) == "Q: what is {it}? A:"
    assert prompt_of(make_request(), model) is None


@pytest.mark.parametrize(
    ("raw", "clean"), [(" a fox\n", "a fox"), ("\n\nred\nblue", "red"), ("", ""), ("   ", "")], ids=repr
)
def test_an_answer_is_its_first_line(raw, clean):
    assert tidy(raw) == clean


def test_pickled_weights_are_refused(folders, tmp_path):
    pickled = tmp_path / "pickled"
    shutil.copytree(folders["opt"], pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")

    with pytest.raises(ModelUnavailable, match="no safetensors"):
        build(make_model(tasks=TASKS, repo=str(pickled))).load("cpu")


# ---------------------------------------------------------------- several texts in one task


def describing(count, **options):
    return dataclasses.replace(make_request(count=count, seed=3, **options), command="describe")


def test_a_description_has_different_lines_and_can_be_repeated(engine):
    lines = answer(engine, describing(4)).splitlines()

    assert len({line.casefold() for line in lines}) == len(lines)
    assert 2 <= len(lines) <= 4
    assert answer(engine, describing(4)).splitlines() == lines


def told(task, *rounds):
    """The wishes of each round, and the lines that the tale ends with when these texts are written."""
    tale = tale_of(task)
    wishes = [next(tale)]
    for number, texts in enumerate(rounds):
        try:
            wishes.append(tale.send(texts))
        except StopIteration as end:
            assert number == len(rounds) - 1
            return wishes, end.value
    return wishes, None


def test_a_description_begins_with_the_likeliest_caption_and_draws_the_others():
    task = describing(3, num_beams=4)

    [wishes], lines = told(task, [["a fox"], ["a cat"], ["a dog"]])

    assert lines == ["a fox", "a cat", "a dog"]
    assert wishes[0].options == task.options
    assert [wish.options["num_beams"] for wish in wishes[1:]] == [1, 1]
    assert 0.5 < wishes[1].options["temperature"] < wishes[2].options["temperature"]
    assert [wish.seed for wish in wishes] == [3, 4, 5]


def test_each_draw_is_livelier_up_to_a_bound():
    warmth = [livelier({"temperature": 0.0, "top_p": 1.0}, attempt) for attempt in range(1, 30)]

    assert [options["temperature"] for options in warmth] == sorted(options["temperature"] for options in warmth)
    assert warmth[-1]["temperature"] == 2.0
    assert all(0 < options["top_p"] <= 1 for options in warmth)
    assert livelier({"temperature": 1.5}, 1)["temperature"] == pytest.approx(1.6)


def test_a_description_never_repeats_itself_however_little_the_model_has_to_say():
    wishes, lines = told(describing(2), [["A fox."], ["a fox"]], [[""]], [["a FOX!"]], [["a fox", "a cat", "a dog"]])

    assert lines == ["A fox.", "a cat"]
    assert [len(round) for round in wishes] == [2, 1, 1, 1]
    assert wishes[-1][0].texts == wishes[-1][0].beams == 4


def test_a_model_that_says_one_thing_only_gives_one_line_and_ends():
    _, lines = told(describing(2), [["a fox"], ["a fox"]], [["a fox"]], [["a fox"]], [["A fox", ""]])

    assert lines == ["a fox"]


def test_a_model_that_is_too_sure_to_draw_gives_its_next_likeliest(engine, monkeypatch):
    monkeypatch.setattr("inference.vision.generation_plan.livelier", lambda options, _: dict(options))

    lines = answer(engine, describing(3)).splitlines()

    assert len({line.casefold() for line in lines}) == len(lines) == 3


def test_steps_of_a_description_only_go_on(engine):
    steps = [(event.step, event.steps) for event in run(engine, describing(3)) if isinstance(event, Step)]

    assert {total for _, total in steps} == {3 * 8}
    assert steps[0] == (3, 24)
    assert [step for step, _ in steps] == sorted(step for step, _ in steps)
    assert max(step for step, _ in steps) == 24


def test_an_album_gets_a_numbered_line_for_each_picture(engine):
    red, blue = make_request("what is it ?"), make_request("what is it ?", colour="blue")
    both = dataclasses.replace(red, images=red.images + blue.images)

    assert answer(engine, both) == f"1. {answer(engine, red)}\n2. {answer(engine, blue)}"


# ---------------------------------------------------------------- what nobody should be able to break


def test_a_token_for_a_picture_that_a_person_types_is_no_picture(engine):
    typed = answer(engine, make_request("what is <image> <image> it ?"))

    assert typed == answer(engine, make_request("what is it ?"))


def test_a_text_ends_where_a_models_positions_end(folders):
    engine = build(make_model(tasks=TASKS, repo=str(folders["opt"])))
    engine.load("cpu")
    long = " ".join(["fox"] * 100)

    events = run(engine, make_request(long, min_new_tokens=100, max_new_tokens=100))

    steps = [event for event in events if isinstance(event, Step)]
    assert steps[-1].step == steps[-1].steps < 100
    with pytest.raises(InvalidOption) as refused:
        engine.admit(make_request(" ".join(["fox"] * 130)))
    assert refused.value.option == "question"
    assert engine.free_rows == engine.form["rows"]
    engine.unload()


def test_a_task_without_a_picture_is_refused_alone(engine):
    with pytest.raises(EngineError):
        engine.admit(dataclasses.replace(make_request(), images=()))

    assert engine.free_rows == engine.form["rows"]


def test_a_model_that_wishes_for_more_than_a_batch_gives_is_left_to_generate(engine, folders, monkeypatch):
    language = engine._blip.language_model
    monkeypatch.setattr(language.generation_config, "repetition_penalty", 1.5)

    assert language_for(language) is None


def test_what_no_batch_knows_is_written_by_generate(folders, monkeypatch):
    monkeypatch.setattr("inference.vision.engine.language_for", lambda _: None)
    engine = build(make_model(tasks=TASKS, repo=str(folders["opt"])))
    engine.load("cpu")
    tasks = [make_request("what is it ?", temperature=warmth, max_new_tokens=12) for warmth in (0.0, 1.5)]

    assert engine.free_rows == engine.form["rows"] == 1
    assert [answer(engine, task) for task in tasks] == [plain_answer(engine, task) for task in tasks]
    engine.unload()
