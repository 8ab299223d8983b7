"""The end of trainings: what replaces what, what an interruption leaves, and what is deleted."""

import asyncio
import os
import time

import pytest

from bot.errors import ModelRefused, NotFound, StorageFull, TrainingRefused
from bot.usecases.training_views import training_body
from bot.usecases.training_work import ABANDONED_S, TrainingWork
from tests.bot.usecases.training_env import finished, order, until, work_folders
from tests.training_fixture import FORGETFUL

NAME = "glyphs-of-2026"


def weights(env):
    return env.data / "adapters" / NAME / "adapter_model.safetensors"


async def test_a_new_one_that_fails_its_test_does_not_replace_one_that_works(env):
    await finished(env)
    weights(env).write_bytes(b"of the first")
    env.trainer.report = FORGETFUL

    training = await finished(env, replace=True)

    assert env.adapters.saved[NAME].state == "accepted"
    assert weights(env).read_bytes() == b"of the first"
    assert "stays as it is. Old answers fell by 3.0 points" in training.error
    assert training_body(training)["report"]["is_accepted"] is False
    assert work_folders(env) == []


async def test_one_that_fails_again_replaces_one_that_failed(env):
    env.trainer.report = FORGETFUL
    await finished(env)
    training = await finished(env)

    assert (training.error, env.adapters.saved[NAME].state, work_folders(env)) == ("", "rejected", [])


async def test_an_end_that_was_killed_is_made_again(env):
    await finished(env)
    replaced = env.data / "training" / NAME / "replaced"
    replaced.mkdir(parents=True)
    (replaced / "adapter_model.safetensors").write_bytes(b"of the first")

    training = await finished(env, replace=True)

    assert (training.error, weights(env).read_bytes(), work_folders(env)) == ("", b"weights", [])


@pytest.mark.parametrize("stop", ["cancel", "close", "forget"])
async def test_files_and_records_are_not_torn_apart_by_a_stop_at_the_end(env, stop):
    env.adapters.may_save.clear()
    training = await env.trainings.start(order(env))
    await until(lambda: env.adapters.saving)
    training.used_corrections = frozenset({"a"})
    stopping = {
        "cancel": lambda: env.trainings.cancel(NAME),
        "close": env.trainings.close,
        "forget": lambda: env.trainings.forget_examples(["a"]),
    }[stop]
    task = asyncio.create_task(stopping())
    await asyncio.sleep(0.01)
    env.adapters.may_save.set()

    if stop == "cancel":
        with pytest.raises(TrainingRefused) as refused:
            await task
        assert refused.value.problem == "over"
    await asyncio.wait([task])

    assert (training.error, training.is_switched_on) == ("", True)
    assert (list(env.adapters.saved), weights(env).is_file(), work_folders(env)) == ([NAME], True, [])
    assert len(env.trainer.requests) == 1


async def test_one_that_cannot_be_switched_on_is_kept_and_says_why(env):
    env.switch_error = ModelRefused("config.toml", "unwritable", detail="Read-only file system")

    training = await finished(env)

    assert env.adapters.saved[NAME].state == "accepted"
    assert "passed its test, but cannot be switched on" in training.error
    assert "Read-only file system" in training.error
    assert work_folders(env) == []


async def test_of_two_orders_of_one_name_at_once_one_is_refused(env):
    env.trainer.go_on.clear()
    both = await asyncio.gather(*(env.trainings.start(order(env)) for _ in range(2)), return_exceptions=True)

    assert sorted(getattr(one, "problem", "") for one in both) == ["", "running"]
    await env.trainings.cancel(NAME)


async def test_the_name_of_a_model_or_an_add_on_is_no_adapters(env):
    env.taken = {NAME}

    with pytest.raises(TrainingRefused) as refused:
        await env.trainings.start(order(env, replace=True))

    assert (refused.value.problem, work_folders(env)) == ("name_taken", [])


async def test_what_could_go_on_can_be_cancelled(env):
    env.trainer.error = TrainingRefused("disk_full")
    await finished(env)
    assert work_folders(env) == [NAME]

    await env.trainings.cancel(NAME)

    assert work_folders(env) == []


async def test_one_of_an_earlier_process_can_be_cancelled(env):
    TrainingWork(env.data).save_order(NAME, order(env))
    await env.build().cancel(NAME)

    assert work_folders(env) == []
    with pytest.raises(NotFound):
        await env.build().cancel(NAME)


async def test_what_nobody_goes_on_with_is_deleted_after_a_while(env):
    long_ago = time.time() - ABANDONED_S - 60
    for name in ("old", "new", "waits"):
        folder = env.data / "training" / name
        (folder / "state").mkdir(parents=True)
        if name == "waits":
            TrainingWork(env.data).save_order(name, order(env))
        else:
            (folder / "order.json").write_text("{")
        for path in (folder, *folder.iterdir()):
            if name != "new":
                os.utime(path, (long_ago, long_ago))

    env.trainer.go_on.clear()
    await env.trainings.resume_trainings()

    assert work_folders(env) == ["new", "waits"]
    await env.trainings.close()


@pytest.mark.parametrize("had_one", [True, False])
async def test_a_full_database_at_the_end_loses_nothing(env, had_one, monkeypatch):
    async def fail(*_args):
        raise StorageFull

    if had_one:
        await finished(env)
        weights(env).write_bytes(b"of the first")
    with monkeypatch.context() as patch:
        patch.setattr(env.adapters, "save_adapter", fail)
        training = await finished(env, replace=True)

    assert "could not be recorded" in training.error
    assert [path.read_bytes() for path in (env.data / "adapters").glob("*/*")] == ([b"of the first"] if had_one else [])
    assert work_folders(env) == [NAME]


async def test_words_that_name_what_is_learned_are_clean(env):
    await finished(env, kind="image", words=" a \u202ezorp\n\n ")

    assert env.trainer.requests[0].words == "a zorp"
