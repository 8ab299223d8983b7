"""Corrections whose consent is withdrawn while trainings read them, wait or are interrupted."""

import asyncio
import json

import pytest

from bot.errors import TrainingRefused
from bot.usecases import training_examples
from bot.usecases.training_examples import TrainingExamples
from tests.bot.usecases.training_env import correction, finished, names_in, order, until, work_folders
from tests.training_fixture import FakeTrainer


def work_of(env, training):
    return env.data / "training" / training.name


async def interrupted(env):
    """A training with two corrections, of a process that has ended."""
    env.corrections = [correction(1), correction(2)]
    env.trainer.go_on.clear()
    training = await env.trainings.start(order(env, corrections=True))
    await until(lambda: env.trainer.requests)
    (work_of(env, training) / "checkpoint").write_bytes(b"learned from both")
    await env.trainings.close()
    env.corrections = [correction(2)]
    env.trainer.go_on.set()
    return training


def learned_from(env):
    return set(env.trainer.requests[-1].corrections.values())


async def test_what_is_withdrawn_while_corrections_are_listed_is_neither_copied_nor_learned(env):
    env.corrections = [correction(1), correction(2)]
    listed = []

    async def withdraw_meanwhile():
        listed.append(list(env.corrections))
        if len(listed) == 1:
            env.corrections = [correction(2)]
            await env.trainings.forget_examples(["correction1"])
        return listed[-1]

    async def read_image(_correction):
        return b"\x89PNG"

    env.trainings.copy_examples = TrainingExamples(list_corrections=withdraw_meanwhile, read_image=read_image).copy
    training = await finished(env, corrections=True)

    assert training.error == ""
    assert learned_from(env) == {"correction2"}


async def test_a_training_that_will_be_resumed_begins_anew_without_what_was_withdrawn(env):
    training = await interrupted(env)
    resumed = env.build()

    await resumed.forget_examples(["correction1"])
    left = names_in(work_of(env, training))
    await resumed.resume_trainings()
    await resumed.find(training.name).task

    assert left == {"order.json"}
    assert resumed.find(training.name).error == ""
    assert learned_from(env) == {"correction2"}


async def test_a_training_that_waits_for_its_turn_keeps_no_copies_of_what_was_withdrawn(env):
    training = await interrupted(env)
    resumed = env.build()
    resumed.trainer = FakeTrainer()
    resumed.trainer.go_on.clear()
    first = await resumed.start(order(env, name="first"))
    await until(lambda: resumed.trainer.requests)
    await resumed.resume_trainings()
    waiting = resumed.find(training.name)
    await asyncio.sleep(0)

    await resumed.forget_examples(["correction1"])

    assert names_in(work_of(env, training)) == {"order.json"}
    assert json.loads((work_of(env, training) / "order.json").read_text())["corrections"] is True
    resumed.trainer.go_on.set()
    await asyncio.gather(first.task, waiting.task)
    assert set(resumed.trainer.requests[-1].corrections.values()) == {"correction2"}


async def test_few_images_are_in_memory_together_and_those_that_are_gone_are_left_out(env, monkeypatch):
    monkeypatch.setattr(training_examples, "CHUNK", 2)
    env.corrections = [correction(number) for number in range(7)]
    written = []

    async def list_corrections():
        return env.corrections

    async def read_image(one):
        return None if one.id in ("correction0", "correction6") else b"\x89PNG"

    def count(write):
        def counted(*args):
            written.append(len(args[-1]))
            return write(*args)

        return counted

    for name in ("fill_folder", "add_corrections"):
        monkeypatch.setattr(training_examples, name, count(getattr(training_examples, name)))
    env.trainings.copy_examples = TrainingExamples(list_corrections=list_corrections, read_image=read_image).copy
    training = await finished(env, corrections=True)

    assert training.error == ""
    assert written == [2, 2, 1]
    assert learned_from(env) == {f"correction{number}" for number in range(1, 6)}
    assert training.used_corrections == {one.id for one in env.corrections}
    assert work_folders(env) == []


@pytest.mark.parametrize("stored", ["media/ab/cd", "training/other/examples"])
@pytest.mark.parametrize("of", ["folder", "replay"])
async def test_nothing_is_learned_from_where_peoples_images_are_kept(env, tmp_path, stored, of):
    kept = env.data / stored
    kept.mkdir(parents=True)
    (tmp_path / "link").symlink_to(kept)

    for folder in (kept, tmp_path / "link"):
        with pytest.raises(TrainingRefused) as refused:
            await env.trainings.start(order(env, kind="image", words="a zorp", **{of: str(folder)}))
        assert refused.value.problem == "stored"
    assert env.trainer.requests == []
