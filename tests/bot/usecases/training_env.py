"""A folder, models, and trainings with a trainer that learns nothing."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from bot.memory.fit import MachineSpec
from bot.models import IMAGE_TEXT_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelRegistry
from bot.ports import Correction, DeviceStatus
from bot.usecases.training_examples import TrainingExamples
from bot.usecases.training_orders import TrainingOrder
from bot.usecases.training_work import TrainingWork
from bot.usecases.trainings import Trainings
from tests.fakes import make_model
from tests.training_fixture import FakeTrainer

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def correction(number, text="a lynx", question=""):
    return Correction(
        id=f"correction{number}", job="j", person="p", media="m", question=question, answer="a cat", text=text,
        created_at=NOW, consented_at=NOW,
    )  # fmt: skip


class FakeAdapters:
    def __init__(self):
        self.saved, self.retired, self.saving = {}, [], 0
        self.may_save = asyncio.Event()
        self.may_save.set()

    async def save_adapter(self, adapter, examples):
        self.saving += 1
        await self.may_save.wait()
        self.saved[adapter.name] = adapter

    async def list_adapters(self):
        return list(self.saved.values())

    async def retire_adapters(self, corrections):
        self.retired.append(set(corrections))
        return list(self.saved.values())


class FakePool:
    def __init__(self):
        self.device, self.running, self.unloaded = "cpu", 0, 0

    def device_statuses(self):
        return [DeviceStatus(device=self.device, state="ready", running=self.running)]

    async def unload_idle_models(self):
        self.unloaded += 1


def make_env(tmp_path):
    folder = tmp_path / "Glyphs of 2026"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"picture")
    chatting = make_model(name="chats", tasks=(IMAGE_TEXT_TO_TEXT, VISUAL_QUESTION_ANSWERING), repo="/models/chats")
    seeing = make_model(name="sees", tasks=(VISUAL_QUESTION_ANSWERING,), repo="/models/sees")
    drawing = make_model(name="draws", tasks=(TEXT_TO_IMAGE,), repo="/models/draws")
    env = SimpleNamespace(
        folder=folder, trainer=FakeTrainer(), adapters=FakeAdapters(), pool=FakePool(), corrections=[], free_mb=8000,
        switched=[], switch_error=None, taken=set(), captioned=[], data=tmp_path / "data",
        models=ModelRegistry({"chats": chatting, "sees": seeing, "draws": drawing}),
    )  # fmt: skip

    async def machine():
        return MachineSpec(devices=(), ram_mb=8000, free_ram_mb=env.free_mb, disk_free_mb=10**6)

    async def list_corrections():
        return list(env.corrections)

    async def read_image(_correction):
        return b"\x89PNG"

    async def list_allowed():
        return [one.id for one in env.corrections]

    async def caption(folder, words, model, on_progress):
        env.captioned.append((folder, words))
        on_progress(1, 1)
        return {"1.png": f"{words}, a cat"}

    async def switch_on(model, name):
        if env.switch_error is not None:
            raise env.switch_error
        env.switched.append((model, name))

    async def is_taken(name):
        return name in env.taken

    copy_examples = TrainingExamples(list_corrections=list_corrections, read_image=read_image).copy

    def build():
        return Trainings(
            models=env.models, trainer=env.trainer, adapters=env.adapters, pool=env.pool, work=TrainingWork(env.data),
            machine_spec=machine, copy_examples=copy_examples, caption_images=caption, switch_on=switch_on,
            list_allowed=list_allowed, is_taken=is_taken,
        )  # fmt: skip

    env.build, env.trainings = build, build()
    return env


def order(env, **values):
    return TrainingOrder(**{"kind": "vision", "folder": str(env.folder), **values})


async def finished(env, **values):
    training = await env.trainings.start(order(env, **values))
    await training.task
    return training


def names_in(folder):
    return {path.name for path in Path(folder).iterdir()}


def work_folders(env):
    return sorted(path.name for path in (env.data / "training").glob("*"))


async def until(condition):
    async with asyncio.timeout(5):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)
