"""Texts written together: each is what the plain library writes alone, whoever joins, leaves or is cancelled."""

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.engine.base import Over, Step, build
from inference.ipc.process import ROOT
from inference.vision.engine import NEWCOMERS, ROWS
from tests.inference.support import make_model
from tests.inference.tiny import save_blip
from tests.inference.vision_reference import TASKS, answer, make_request, picture, plain_answer, run

QUESTIONS = ("", "what is it ?", "what is on the red background ? a fox , a cat")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=["opt", "t5", "starter"])
def engine(request, tmp_path_factory):
    folder = str(ROOT / "models/starter-vision")
    if request.param != "starter":
        folder = str(save_blip(tmp_path_factory.mktemp("models") / request.param, request.param))
    engine = build(make_model(request.param, tasks=TASKS, repo=folder))
    engine.load("cpu")
    yield engine
    engine.unload()


@pytest.fixture(scope="module")
def alone(engine):
    """What the plain library answers, by the task's options, for all that the stream may ask."""
    known: dict[str, str] = {}

    def of(task):
        key = repr((sorted(task.options.items()), [image.media.data for image in task.images]))
        if key not in known:
            known[key] = plain_answer(engine, task)
        return known[key]

    return of


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
"""A request, how many steps after the one before it comes, and how many steps later it is cancelled, if at all."""


@given(arrivals)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_text_of_a_mixed_stream_is_what_the_plain_library_writes_alone(engine, alone, stream):
    waiting, now = [], 0
    for number, (task, after, cancelled) in enumerate(stream):
        now += after
        waiting.append((now, dataclasses.replace(task, id=f"job-{number}"), cancelled))
    tasks = {task.id: task for _, task, _ in waiting}
    cancels = {task.id: at + cancelled for at, task, cancelled in waiting if cancelled}

    answers: dict[str, str | None] = {}
    for step in range(400):
        for _, task, _ in [one for one in waiting if one[0] == step]:
            engine.admit(task)
        for task_id in [one for one, at in cancels.items() if at == step and one not in answers]:
            engine.cancel(task_id)
            tasks.pop(task_id)
        answers |= {event.task_id: event.finished.text for event in engine.step() if isinstance(event, Over)}
        if step > now and len(answers) == len(tasks):
            break

    assert answers == {task_id: alone(task) for task_id, task in tasks.items()}
    assert engine.free_rows == ROWS
    assert engine.used().keys() == {task.id for _, task, _ in waiting}


def test_every_admitted_task_advances_by_one_token_a_step(engine):
    tasks = [make_request(id=f"job-{number}", min_new_tokens=6, max_new_tokens=6) for number in range(3)]
    for task in tasks:
        engine.admit(task)

    told = [[(event.task_id, event.step) for event in engine.step() if isinstance(event, Step)] for _ in range(6)]

    assert told == [[(task.id, step) for task in tasks] for step in range(1, 7)]


def test_a_step_lets_in_no_more_newcomers_than_the_others_can_bear(engine):
    for number in range(NEWCOMERS + 1):
        engine.admit(make_request(id=f"job-{number}", min_new_tokens=5))

    first, second = ({event.task_id for event in engine.step()} for _ in range(2))

    assert len(first) == NEWCOMERS
    assert len(second) == NEWCOMERS + 1
    for number in range(NEWCOMERS + 1):
        engine.cancel(f"job-{number}")
    assert engine.step() == []


def test_a_text_of_somebody_comes_before_the_second_of_anybody(engine, monkeypatch):
    monkeypatch.setattr(engine, "_rows", 3)
    album = make_request(id="album", min_new_tokens=20, max_new_tokens=20)
    engine.admit(dataclasses.replace(album, images=tuple(picture(c) for c in ("red", "blue", "white", "green"))))
    engine.step()
    engine.admit(make_request(id="one"))
    engine.admit(make_request(id="two"))

    engine.step()

    assert [row.owner for row in engine._batch.rows] == ["album", "album", "album", "one", "two"]
    assert engine.free_rows == 0
    for task_id in ("album", "one", "two"):
        engine.cancel(task_id)


def test_the_pictures_of_an_album_are_written_row_by_row(engine):
    album = make_request("what is it ?", seed=5)
    album = dataclasses.replace(album, images=tuple(picture(colour) for colour in ("red", "blue", "white")))

    lines = [answer(engine, make_request("what is it ?", colour=one)) for one in ("red", "blue", "white")]

    assert answer(engine, album).splitlines() == [f"{number}. {line}" for number, line in enumerate(lines, 1)]


def out_of_memory(*_):
    raise RuntimeError("out of memory")


def test_the_tower_is_spared_for_a_picture_that_was_seen(engine, monkeypatch):
    first = answer(engine, make_request("what is it ?", colour="purple"))
    monkeypatch.setattr(engine._looks, "_see", out_of_memory)

    assert answer(engine, make_request("what is it ?", colour="purple")) == first
    assert run(engine, make_request(colour="purple", num_beams=2))


def test_a_picture_that_several_ask_about_at_once_is_looked_at_once(engine, monkeypatch):
    seen = []
    look = engine._looks._see

    def see(pixels):
        seen.append(len(pixels))
        return look(pixels)

    monkeypatch.setattr(engine._looks, "_see", see)
    for number, colour in enumerate(("olive", "olive", "navy")):
        engine.admit(make_request(id=f"job-{number}", colour=colour))

    engine.step()

    assert seen == [2]
    for number in range(3):
        engine.cancel(f"job-{number}")


def test_time_is_paid_by_whoever_used_it(engine):
    engine.used()
    engine.admit(make_request(id="early", min_new_tokens=9, max_new_tokens=9))
    while engine.step():
        pass
    engine.admit(make_request(id="late", colour="green"))
    engine.step()

    used = engine.used()
    assert used.keys() == {"early", "late"}
    assert min(used.values()) > 0
    assert engine.used() == {}
    engine.cancel("late")


def test_what_a_token_takes_is_learned_by_rows(engine):
    tasks = [make_request(id=f"job-{number}", min_new_tokens=8) for number in range(3)]
    for task in tasks:
        engine.admit(task)
    while engine.step():
        pass

    learned = dict(engine.learned())
    assert learned[3] > 0
    assert [*learned] == sorted(learned)
    readings = {(one.what, one.rows): one.seconds for one in engine.readings(tasks[0])}
    assert 0 < readings["token", 1] <= readings["token", 2] <= readings["token", 4]
    assert readings["job", 1] > 0


def test_a_failed_step_leaves_nothing_behind(engine, monkeypatch):
    tasks = [make_request(id="one", min_new_tokens=8), make_request(id="two", num_beams=2, min_new_tokens=8)]
    for task in tasks:
        engine.admit(task)
    engine.step()
    with monkeypatch.context() as broken:
        broken.setattr(engine._batch._language, "write", out_of_memory)
        with pytest.raises(RuntimeError, match="out of memory"):
            engine.step()
    for task in tasks:
        engine.cancel(task.id)

    assert engine.free_rows == ROWS
    assert answer(engine, tasks[0]) == plain_answer(engine, tasks[0])


def test_a_careful_engine_takes_fewer_and_keeps_nothing(engine):
    task = make_request()
    before = answer(engine, task)
    engine.save_memory()

    assert engine.free_rows == ROWS // 2
    assert len(engine._looks.kept) == 0
    assert answer(engine, task) == before
    engine.load("cpu")


def test_how_it_attends_and_how_many_it_takes_is_in_its_form(engine):
    assert engine.form["attention"] == "sdpa"
    assert engine.form["rows"] == ROWS
