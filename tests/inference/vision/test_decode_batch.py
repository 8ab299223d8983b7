"""Continuous batching changes no text: whatever joins, leaves or is cancelled, each equals that of `generate` alone."""

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.engine.base import StepDone, TaskDone, build_engine
from inference.ipc.environment import ROOT
from inference.vision.engine import MAX_NEW_PER_STEP, MAX_SEQUENCES
from tests.inference.support import make_model
from tests.inference.tiny import save_blip
from tests.inference.vision_reference import TASKS, answer, make_request, plain_image, reference_answer, run_task

QUESTIONS = ("", "what is it ?", "what is on the red background ? a fox , a cat")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=["opt", "t5", "starter"])
def engine(request, tmp_path_factory):
    folder = str(ROOT / "models/starter-vision")
    if request.param != "starter":
        folder = str(save_blip(tmp_path_factory.mktemp("models") / request.param, request.param))
    engine = build_engine(make_model(request.param, tasks=TASKS, repo=folder))
    engine.load_model("cpu")
    yield engine
    engine.unload_model()


@pytest.fixture(scope="module")
def alone(engine):
    """The answers of `generate`, cached by the task's options and images."""
    answers: dict[str, str] = {}

    def answer_alone(task):
        key = repr((sorted(task.options.items()), [image.media.data for image in task.images]))
        if key not in answers:
            answers[key] = reference_answer(engine, task)
        return answers[key]

    return answer_alone


requests = st.builds(
    make_request,
    st.sampled_from(QUESTIONS),
    colour=st.sampled_from(("red", "blue", "white")),
    seed=st.integers(0, 5),
    num_beams=st.sampled_from((1, 1, 1, 1, 3)),
    temperature=st.sampled_from((0.0, 0.0, 1.3)),
    top_p=st.sampled_from((1.0, 0.8)),
    min_new_tokens=st.sampled_from((0, 3)),
    max_new_tokens=st.sampled_from((1, 5, 11)),
)
arrivals = st.lists(
    st.tuples(requests, st.integers(0, 4), st.sampled_from((None, None, None, 1, 3))), min_size=3, max_size=8
)
"""A request, how many steps after the previous one it arrives, and how many steps later it is cancelled, or None."""


@given(arrivals)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_text_of_a_mixed_stream_equals_that_of_generate_alone(engine, alone, stream):
    waiting, now = [], 0
    for number, (task, after, cancelled) in enumerate(stream):
        now += after
        waiting.append((now, dataclasses.replace(task, id=f"job-{number}"), cancelled))
    tasks = {task.id: task for _, task, _ in waiting}
    cancels = {task.id: at + cancelled for at, task, cancelled in waiting if cancelled}

    answers: dict[str, str | None] = {}
    for step in range(400):
        for _, task, _ in [entry for entry in waiting if entry[0] == step]:
            engine.add_task(task)
        for task_id in [name for name, at in cancels.items() if at == step and name not in answers]:
            engine.cancel_task(task_id)
            tasks.pop(task_id)
        answers |= {event.task_id: event.result.text for event in engine.step() if isinstance(event, TaskDone)}
        if step > now and len(answers) == len(tasks):
            break

    assert answers == {task_id: alone(task) for task_id, task in tasks.items()}
    assert engine.free_slots == MAX_SEQUENCES
    assert engine.take_usage().keys() == {task.id for _, task, _ in waiting}


def test_every_running_task_advances_by_one_token_per_step(engine):
    tasks = [make_request(id=f"job-{number}", min_new_tokens=6, max_new_tokens=6) for number in range(3)]
    for task in tasks:
        engine.add_task(task)

    reported = [
        [(event.task_id, event.step) for event in engine.step() if isinstance(event, StepDone)] for _ in range(6)
    ]

    assert reported == [[(task.id, step) for task in tasks] for step in range(1, 7)]


def test_a_step_starts_at_most_max_new_per_step_texts(engine):
    for number in range(MAX_NEW_PER_STEP + 1):
        engine.add_task(make_request(id=f"job-{number}", min_new_tokens=5))

    first, second = ({event.task_id for event in engine.step()} for _ in range(2))

    assert len(first) == MAX_NEW_PER_STEP
    assert len(second) == MAX_NEW_PER_STEP + 1
    for number in range(MAX_NEW_PER_STEP + 1):
        engine.cancel_task(f"job-{number}")
    assert engine.step() == []


def test_everyones_first_text_goes_before_anyones_second(engine, monkeypatch):
    monkeypatch.setattr(engine, "_max_sequences", 3)
    album = make_request(id="album", min_new_tokens=20, max_new_tokens=20)
    engine.add_task(dataclasses.replace(album, images=tuple(plain_image(c) for c in ("red", "blue", "white", "green"))))
    engine.step()
    engine.add_task(make_request(id="one"))
    engine.add_task(make_request(id="two"))

    engine.step()

    assert [sequence.task_id for sequence in engine._batch.sequences] == ["album", "album", "album", "one", "two"]
    assert engine.free_slots == 0
    for task_id in ("album", "one", "two"):
        engine.cancel_task(task_id)


def test_an_album_gets_one_line_per_image(engine):
    album = make_request("what is it ?", seed=5)
    album = dataclasses.replace(album, images=tuple(plain_image(colour) for colour in ("red", "blue", "white")))

    lines = [answer(engine, make_request("what is it ?", colour=colour)) for colour in ("red", "blue", "white")]

    assert answer(engine, album).splitlines() == [f"{number}. {line}" for number, line in enumerate(lines, 1)]


def run_out_of_memory(*_):
    raise RuntimeError("out of memory")


def test_follow_up_questions_reuse_the_image_features(engine, monkeypatch):
    first = answer(engine, make_request("what is it ?", colour="purple"))
    monkeypatch.setattr(engine._image_encoder, "_encode", run_out_of_memory)

    assert answer(engine, make_request("what is it ?", colour="purple")) == first
    assert run_task(engine, make_request(colour="purple", num_beams=2))


def test_an_image_of_several_tasks_is_encoded_once(engine, monkeypatch):
    batches = []
    encode = engine._image_encoder._encode

    def recording_encode(pixels):
        batches.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr(engine._image_encoder, "_encode", recording_encode)
    for number, colour in enumerate(("olive", "olive", "navy")):
        engine.add_task(make_request(id=f"job-{number}", colour=colour))

    engine.step()

    assert batches == [2]
    for number in range(3):
        engine.cancel_task(f"job-{number}")


def test_time_is_charged_to_the_tasks_that_use_it(engine):
    engine.take_usage()
    engine.add_task(make_request(id="early", min_new_tokens=9, max_new_tokens=9))
    while engine.step():
        pass
    engine.add_task(make_request(id="late", colour="green"))
    engine.step()

    usage = engine.take_usage()
    assert usage.keys() == {"early", "late"}
    assert min(usage.values()) > 0
    assert engine.take_usage() == {}
    engine.cancel_task("late")


def test_the_cost_of_a_token_is_measured_by_batch_size(engine):
    tasks = [make_request(id=f"job-{number}", min_new_tokens=8) for number in range(3)]
    for task in tasks:
        engine.add_task(task)
    while engine.step():
        pass

    costs = dict(engine.token_costs())
    assert costs[3] > 0
    assert [*costs] == sorted(costs)
    samples = {(one.what, one.batch_size): one.seconds for one in engine.cost_samples(tasks[0])}
    assert 0 < samples["token", 1] <= samples["token", 2] <= samples["token", 4]
    assert samples["job", 1] > 0


def test_a_failed_step_leaves_no_state_behind(engine, monkeypatch):
    tasks = [make_request(id="one", min_new_tokens=8), make_request(id="two", num_beams=2, min_new_tokens=8)]
    for task in tasks:
        engine.add_task(task)
    engine.step()
    with monkeypatch.context() as broken:
        broken.setattr(engine._batch._language_model, "decode", run_out_of_memory)
        with pytest.raises(RuntimeError, match="out of memory"):
            engine.step()
    for task in tasks:
        engine.cancel_task(task.id)

    assert engine.free_slots == MAX_SEQUENCES
    assert answer(engine, tasks[0]) == reference_answer(engine, tasks[0])


def test_reducing_memory_halves_the_batch_and_clears_the_cache(engine, monkeypatch):
    monkeypatch.setattr(engine, "_max_sequences", MAX_SEQUENCES)  # to restore them after the test
    monkeypatch.setattr(engine, "_max_new_per_step", MAX_NEW_PER_STEP)
    task = make_request()
    before = answer(engine, task)
    engine.reduce_memory()

    assert engine.free_slots == MAX_SEQUENCES // 2
    assert len(engine._image_encoder.cache) == 0
    assert answer(engine, task) == before


def test_the_capabilities_name_the_attention_and_the_batch_size(engine):
    assert engine.capabilities["attention"] == "sdpa"
    assert engine.capabilities["rows"] == MAX_SEQUENCES
