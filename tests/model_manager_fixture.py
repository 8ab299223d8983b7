"""Choosing models in tests' houses: a hub that has whatever is asked for, files that are what they are said to be."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bot.jobs import Media
from bot.memory.fit import Hardware
from bot.model_install.owner_config import OwnersChoices
from bot.models import TEXT_TO_IMAGE, Models, ModelSpec
from bot.ports import Addition, HubFile, Kind, Listing, Transfer
from bot.queue.pricing import Rates
from bot.queue.progress import Events
from bot.usecases import ModelUseCases

COMMIT = "c" * 40
MB = 2**20
FOX = ModelSpec(
    name="fox", title="Fox XL", tasks=(TEXT_TO_IMAGE,), repo="org/fox", enabled=False, licence="fox-1.0", steps=2,
    width=64, height=64, download_mb=100, licence_url="https://hub.test/org/fox", commercial=False, ram_mb=1000,
)  # fmt: skip
"""A preset."""
SAMPLE = Media(b"a picture", "image/png")


AGAIN_S = 0.2


class FakeHub:
    """One file of 100 MB for each repo, told in two steps. `errors["look"]`, `errors["fetch"]` are raised."""

    def __init__(self) -> None:
        self.errors: dict[str, Exception] = {}
        self.fetched: list[str] = []
        self.removed: list[str] = []
        self.looked: list[Any] = []
        self.free, self.licence, self.kind = 100 * 2**30, "apache-2.0", "StableDiffusionPipeline"
        self.missing = True
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def look(self, wanted):
        self.looked.append(wanted)
        if "look" in self.errors:
            raise self.errors["look"]
        file = HubFile(path="model.safetensors", size=100 * MB, is_here=not self.missing)
        return Listing(
            wanted=wanted, commit=COMMIT, files=(file,), licence=self.licence, kind=self.kind, free=self.free
        )

    async def fetch(self, listing):
        for done in (40 * MB, 100 * MB):
            yield Transfer(done=done, total=100 * MB, rate=20.0 * MB, eta_s=3.0)
            while not self.go_on.is_set():  # it tells how far it is again and again, as a hub's child does
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.go_on.wait(), AGAIN_S)
                yield Transfer(done=done, total=100 * MB, rate=20.0 * MB, eta_s=3.0)
            if "fetch" in self.errors:
                raise self.errors["fetch"]
        self.fetched.append(listing.wanted.repo)

    async def usage(self):
        return {"org/fox": 100 * MB}

    async def remove(self, repo):
        self.removed.append(repo)
        return 100 * MB


class FakeFiles:
    """Everything is of one `kind`."""

    def __init__(self) -> None:
        self.kind = Kind(kind="unknown")
        self.kept: list[Addition] = []
        self.place: Path | None = None

    async def recognise(self, path):
        return self.kind

    def of_class(self, name):
        return self.kind

    async def keep(self, path, kind, name):
        self.kept.append(Addition(name=name, kind=kind.kind, family=kind.family, size=7))
        return self.kept[-1]

    def additions(self):
        return self.kept

    async def drop(self, name):
        left = [one for one in self.kept if one.name != name]
        freed = sum(one.size for one in self.kept) - sum(one.size for one in left)
        self.kept[:] = left
        return freed

    def cached(self, repo, revision):
        return self.place


def choosing_of(
    *,
    models: Models,
    pool: Any,
    store: Any,
    learned: Any,
    data_dir: Path,
    events: Events,
    rates: Rates,
    wake: Callable[[Iterable[str]], None],
    shipped: Mapping[str, ModelSpec] | None = None,
) -> ModelUseCases:
    """With a `FakeHub` and `FakeFiles`, on a machine of 8 GB without an accelerator."""

    async def hardware() -> Hardware:
        return Hardware(devices=(("cpu", "cpu", 8000),), ram_mb=8000, free_ram_mb=8000, disk_free_mb=10**6)

    return ModelUseCases(
        models=models, downloads=FakeHub(), pool=pool, choices=OwnersChoices(data_dir, lambda: shipped or {}),
        files=FakeFiles(), store=store, learned=learned, rates=rates, events=events, sample=lambda: SAMPLE,
        hardware=hardware, wake=wake,
    )  # fmt: skip
