"""From pictures to what is found, on the shipped matching model in a real worker process and a real database."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image

from bot.jobs import Media
from bot.memory.fit import MachineSpec
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION, ModelRegistry, ModelSpec
from bot.usecases.free_memory import FreeMemory
from bot.usecases.match_tasks import MatchTasks
from bot.usecases.meaning_search import MeaningSearch
from bot.usecases.picture_embedding import RETRY_S, PictureEmbedder
from storage import StorageSettings, open_storage
from tests.inference.support import make_model, open_pool, png
from tests.storage.factories import accept, claim, make_picture, render
from training.draw import render_scene
from training.evaluate import held_out_of_kind
from training.scenes import PLAIN

pytestmark = pytest.mark.process
ENGINES = "inference.engine.base:build_engine"
MATCH = make_model("match", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,), repo="models/starter-match", demo=True)
FOX = ModelSpec(name="fox", tasks=("text-to-image",), repo=".", demo=True)
MACHINE = MachineSpec(devices=(), ram_mb=9000, free_ram_mb=9000, disk_free_mb=9000)


async def add_picture(storage, person, image):
    await accept(storage, person, search_text="")
    media_id = await storage.media.write_file(Media(png(image), "image/png"))
    return await render(storage, await claim(storage), media=(make_picture(media_id),))


async def list_found(storage, person, job_ids, **_):
    jobs = await storage.history.get_listed(person.id, job_ids, state=None)
    return [SimpleNamespace(job=job) for job in jobs]


async def count_missing(storage, space):
    """Pictures without an embedding; all of them until the model has said its revision."""
    ids, _ = await storage.embeddings.list_unembedded(space, before=None, limit=100)
    return len(ids)


async def test_pictures_are_embedded_and_found_by_their_captions(tmp_path):
    scenes = held_out_of_kind(PLAIN, 300)[::60]
    async with (
        open_storage(StorageSettings(min_free_mb=0), tmp_path) as storage,
        open_pool([MATCH], engine_factory=ENGINES, threads=1) as pool,
    ):
        person = await storage.people.identify_account("web", "ann", "Ann")
        jobs = [await add_picture(storage, person, Image.fromarray(render_scene(scene))) for scene in scenes]
        broken = await add_picture(storage, person, Image.new("RGB", (8, 8), "white"))
        storage.media._files.path(broken.result.media[0].id, "image/png").write_bytes(b"no picture")
        models = ModelRegistry({one.name: one for one in (MATCH, FOX)})

        async def on_event(event):
            if hasattr(event, "capabilities"):
                models.set_capabilities(event.model, event.capabilities)

        async def machine_spec():
            return MACHINE

        free_memory = FreeMemory(models=models, pool=pool, machine_spec=machine_spec)
        tasks = MatchTasks(models=models, pool=pool, on_event=on_event, free_memory=free_memory)

        waited: list[float] = []

        async def sleep(seconds):
            waited.append(seconds)
            await asyncio.sleep(0.01)

        embedder = PictureEmbedder(
            embeddings=storage.embeddings, media=storage.media, tasks=tasks,
            count_open=storage.administration.count_open, free_memory=free_memory, sleep=sleep,
            clock=lambda: 100.0 * len(waited),
        )  # fmt: skip
        embedding = asyncio.create_task(embedder.run_forever())
        async with asyncio.timeout(120):
            while await count_missing(storage, tasks.space_of(models.require("match"))):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        embedding.cancel()
        history: Any = SimpleNamespace(list_found=lambda *args, **more: list_found(storage, *args, **more))
        search = MeaningSearch(
            jobs=cast("Any", history), history=storage.history, embeddings=storage.embeddings, media=storage.media,
            tasks=tasks,
        )  # fmt: skip
        for scene, job in zip(scenes, jobs, strict=True):
            found = await search.search(person, scene.caption, is_refined=True)
            assert found.is_refined
            assert found.tickets[0].job.id == job.id
        unknown = await search.search(person, "xylograph", is_refined=True)
        await search.close()

    assert (unknown.tickets, unknown.is_refined) == ([], True)
    assert sum(waited) >= RETRY_S
