"""Trainings: what is refused, how they run, resume and end, and when an adapter is switched on."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from bot.errors import NotFound, TrainingRefused
from bot.ports import learning
from bot.usecases import trainings as module
from bot.usecases.training_views import training_body
from bot.usecases.training_work import TrainingWork
from tests.bot.usecases.training_env import correction, finished, names_in, order, until, work_folders
from tests.training_fixture import DULL, FORGETFUL


async def test_an_adapter_that_passes_is_kept_and_switched_on(env):
    training = await finished(env)

    assert (training.name, training.error, training.is_switched_on) == ("glyphs-of-2026", "", True)
    assert env.switched == [("sees", "glyphs-of-2026")]
    saved = env.adapters.saved["glyphs-of-2026"]
    assert (saved.state, saved.model, saved.sha256, saved.report["gain"]) == ("accepted", "sees", "a" * 64, 90.0)
    assert (env.data / "adapters" / "glyphs-of-2026" / "adapter_model.safetensors").read_bytes() == b"weights"
    assert work_folders(env) == []
    assert training_body(training)["losses"] == [[1, 0.5], [2, 0.25]]


@pytest.mark.parametrize("report", [FORGETFUL, DULL])
async def test_one_that_forgets_or_learns_nothing_stays_off_with_its_report_card(env, report):
    env.trainer.report = report

    training = await finished(env)

    assert not training.is_switched_on
    assert env.switched == []
    assert env.adapters.saved["glyphs-of-2026"].state == "rejected"
    assert training_body(training)["report"]["is_accepted"] is False


async def test_an_image_adapter_is_named_in_prompts_and_not_switched_on(env):
    training = await finished(env, kind="image", words="a zorp")

    assert env.captioned == [(env.folder, "a zorp")]
    assert env.trainer.requests[0].captions == {"1.png": "a zorp, a cat"}
    assert (training.model.name, training.is_switched_on, env.switched) == ("draws", False, [])


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"folder": ""}, "nothing"),
        ({"folder": "pictures"}, "relative"),
        ({"folder": "/does/not/exist"}, "no_folder"),
        ({"folder": "~nobody-of-this-name/pictures"}, "no_folder"),
        ({"folder": "/pictures\0"}, "no_folder"),
        ({"replay": "owm"}, "relative"),
        ({"replay": "/does/not/exist"}, "no_folder"),
        ({"model": "draws"}, "wrong_model"),
        ({"model": "chats"}, "chats"),
        ({"name": "Glyphs!"}, "name"),
        ({"name": "none"}, "name"),
        ({"name": "a" * 65}, "name"),
    ],
)
async def test_an_order_that_cannot_be_followed_is_refused(env, values, problem):
    with pytest.raises(TrainingRefused) as refused:
        await env.trainings.start(order(env, **values))

    assert refused.value.problem == problem
    assert env.trainer.requests == []
    assert work_folders(env) == []


async def test_the_name_of_an_adapter_in_use_is_taken_unless_it_is_replaced(env):
    await finished(env)

    with pytest.raises(TrainingRefused) as refused:
        await env.trainings.start(order(env))
    assert refused.value.problem == "taken"

    await finished(env, replace=True)
    assert len(env.trainer.requests) == 2


async def test_two_trainings_of_a_name_do_not_run_together(env):
    env.trainer.go_on.clear()
    training = await env.trainings.start(order(env))

    with pytest.raises(TrainingRefused) as refused:
        await env.trainings.start(order(env))

    assert refused.value.problem == "running"
    await env.trainings.cancel(training.name)


async def test_trainings_take_turns(env):
    env.trainer.go_on.clear()
    first = await env.trainings.start(order(env, name="first"))
    second = await env.trainings.start(order(env, name="second"))
    await until(lambda: training_body(second)["progress"]["stage"] == "queued")
    assert len(env.trainer.requests) == 1

    env.trainer.go_on.set()
    await asyncio.gather(first.task, second.task)

    assert sorted(env.adapters.saved) == ["first", "second"]


async def test_a_cancelled_training_leaves_nothing(env):
    env.trainer.go_on.clear()
    training = await env.trainings.start(order(env))
    await until(lambda: env.trainer.requests)

    await env.trainings.cancel(training.name)

    assert (training.is_finished, env.trainer.closed, work_folders(env)) == (True, 1, [])
    assert "nothing was kept" in training.error
    with pytest.raises(TrainingRefused):
        await env.trainings.cancel(training.name)
    with pytest.raises(NotFound):
        await env.trainings.cancel("another")


async def test_a_training_that_a_stop_interrupted_goes_on(env):
    env.trainer.go_on.clear()
    await env.trainings.start(order(env, seed=3))
    await until(lambda: env.trainer.requests)
    await env.trainings.close()
    assert work_folders(env) == ["glyphs-of-2026"]

    env.trainer.go_on.set()
    later = env.build()
    await later.resume_trainings()
    training = later.find("glyphs-of-2026")
    await training.task

    assert (training.error, env.trainer.requests[1].seed) == ("", 3)
    assert env.trainer.requests[0].work == env.trainer.requests[1].work
    await env.build().resume_trainings()
    assert len(env.trainer.requests) == 2


@pytest.mark.parametrize(("problem", "left"), [("disk_full", ["glyphs-of-2026"]), ("no_metadata", [])])
async def test_a_checkpoint_stays_where_a_training_can_go_on(env, problem, left):
    env.trainer.error = TrainingRefused(problem, folder="x")

    training = await finished(env)

    assert training.error
    assert work_folders(env) == left
    assert TrainingWork(env.data).list_orders() == []


async def test_a_fault_of_ours_is_an_incident_and_not_a_traceback(env):
    env.trainer.error = RuntimeError("boom")

    training = await finished(env)

    assert training.error
    assert "boom" not in training.error


async def test_people_come_first(env):
    env.pool.running = 1

    await finished(env)

    assert env.trainer.paused == [True]


async def test_a_training_gives_a_graphics_card_back_when_people_need_it(env, monkeypatch):
    monkeypatch.setattr(module, "YIELD_S", 0.02)
    monkeypatch.setattr(module, "POLL_S", 0.01)
    env.pool.device = "cuda:0"
    env.trainer.go_on.clear()
    training = await env.trainings.start(order(env))
    await until(lambda: env.trainer.requests)

    env.pool.running = 1
    await until(lambda: env.trainer.closed)
    assert training_body(training)["progress"]["stage"] in ("waiting", "training")
    env.trainer.go_on.set()
    env.pool.running = 0
    await training.task

    assert (len(env.trainer.requests), training.error) == (2, "")
    assert training_body(training)["losses"] == [[1, 0.5], [2, 0.25]]


async def test_idle_models_make_room_and_too_little_memory_is_a_sentence(env):
    env.free_mb = 100

    training = await finished(env)

    assert "memory" in training.error
    assert env.pool.unloaded == 1
    assert env.trainer.requests == []


# ---------------------------------------------------------------- corrections


async def test_corrections_are_copied_for_the_time_of_the_training(env):
    env.corrections = [correction(1), correction(2, "red", "what color is it?")]
    env.trainer.go_on.clear()
    training = await env.trainings.start(order(env, corrections=True))
    await until(lambda: env.trainer.requests)

    (request,) = env.trainer.requests
    files = names_in(request.folder)
    assert files == {
        "1.png",
        "correction-correction1.png",
        "correction-correction2.png",
        "metadata.jsonl",
        "corrections.json",
    }
    assert set(request.corrections.values()) == {"correction1", "correction2"}
    env.trainer.go_on.set()
    await training.task
    assert work_folders(env) == []


async def test_without_any_correction_there_is_nothing_to_learn(env):
    training = await finished(env, folder="", corrections=True)

    assert training.name == "corrections"
    assert "no corrections" in training.error


async def test_a_withdrawal_starts_the_training_anew_without_the_example(env):
    env.corrections = [correction(1), correction(2)]
    env.trainer.go_on.clear()
    training = await env.trainings.start(order(env, corrections=True))
    await until(lambda: env.trainer.requests)
    checkpoint = Path(env.trainer.requests[0].work) / "checkpoint"
    checkpoint.write_bytes(b"learned from both")

    env.corrections = [correction(2)]
    await env.trainings.forget_examples(["correction1"])
    await until(lambda: len(env.trainer.requests) == 2)

    assert not checkpoint.exists()
    assert set(env.trainer.requests[1].corrections.values()) == {"correction2"}
    env.trainer.go_on.set()
    anew = env.trainings.find(training.name)
    await anew.task
    assert anew.error == ""


async def test_a_withdrawal_deletes_what_an_interrupted_training_left_and_retires_adapters(env):
    env.corrections = [correction(1)]
    await finished(env, corrections=True)
    env.trainer.error = TrainingRefused("disk_full")
    await finished(env, corrections=True, name="other")
    assert work_folders(env) == ["other"]

    retired = await env.trainings.forget_examples(["correction1"])

    assert work_folders(env) == []
    assert env.adapters.retired == [{"correction1"}]
    assert [one.name for one in retired] == ["glyphs-of-2026"]


async def test_report_cards_keep_no_words_of_a_withdrawn_correction(env):
    env.corrections = [correction(1)]
    training = await finished(env, corrections=True)
    tested = learning.TestedExample(
        file="1.png", question="", expected="a lynx", before="a cat", after="a lynx", is_new=True
    )
    training.report = replace(training.report, examples=(tested,))
    card = env.data / "adapters" / training.name / "report.json"
    card.write_text(json.dumps({"examples": [{"expected": "a lynx"}], "steps": 3}))
    await env.trainings.forget_examples(["correction1"])

    assert env.trainings.find(training.name).report.examples == ()
    assert json.loads(card.read_text()) == {"examples": [], "steps": 3}


async def test_a_correction_withdrawn_at_the_end_keeps_the_adapter_out(env):
    env.corrections = [correction(1)]
    env.trainer.go_on.clear()
    training = await env.trainings.start(order(env, corrections=True))
    await until(lambda: env.trainer.requests)
    env.corrections = []
    env.trainer.go_on.set()
    await training.task

    assert "withdrawn" in training.error
    assert env.adapters.saved == {}
    assert work_folders(env) == []
