"""Tasks of the matching model that belong to no job: vectors of texts and images, and how well images show a text.

People ask for them, one at a time each, and nothing is charged: a task takes a slot that devices have to spare, and
waits until there is one.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any
from weakref import WeakValueDictionary

from bot.jobs import Media
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION, ModelRegistry, ModelSpec
from bot.ports import (
    EMBED,
    RANK,
    Embedding,
    EmbeddingSpace,
    MatchScore,
    Measurement,
    ModelCapabilities,
    Pool,
    Task,
    TaskImage,
    TaskOutput,
)
from bot.usecases.free_memory import FreeMemory

POLL_S = 0.1
MAX_TEXTS = 256
"""Vectors of texts that are kept in memory."""

OnEvent = Callable[[Measurement | ModelCapabilities], Awaitable[None]]


@dataclass(kw_only=True)
class MatchTasks:
    """`on_event` is told what a task measured, and what a model that was loaded for it can do."""

    models: ModelRegistry
    pool: Pool
    on_event: OnEvent
    free_memory: FreeMemory

    _texts: OrderedDict[tuple[str, EmbeddingSpace, str], Embedding | None] = field(default_factory=OrderedDict)
    """By person: how long an answer takes tells nobody what others have searched for."""
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    """By person, while somebody waits for one."""
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    @property
    def model(self) -> ModelSpec | None:
        """The matching model; None: none is installed."""
        return self.models.default_for(ZERO_SHOT_IMAGE_CLASSIFICATION)

    def space_of(self, model: ModelSpec, revision: str = "") -> EmbeddingSpace:
        """`revision`: if it is known better than from what the model last reported. A demo knows what demos make."""
        makers = frozenset(one.name for one in self.models.all_specs if one.demo) if model.demo else None
        revision = revision or str(model.capabilities.get("revision", ""))
        return EmbeddingSpace(model=model.name, revision=revision, makers=makers)

    async def embed_text(
        self, model: ModelSpec, text: str, owner: str, *, may_unload: bool = False
    ) -> Embedding | None:
        """None: the model knows no word of it. Raises what `Pool.run_task` does.

        `may_unload`: load the model even if others have to be unloaded for it.
        """
        key = (owner, self.space_of(model), text)
        if key in self._texts:
            self._texts.move_to_end(key)
            return self._texts[key]
        async with self._turn(owner, may_unload=may_unload):
            output = await self.run(self.build_task(model, EMBED, {"text": text}, owner=owner))
        found = output.embeddings[0] if output.embeddings else None
        self._texts[owner, self.space_of(model, output.revision), text] = found
        while len(self._texts) > MAX_TEXTS:
            self._texts.popitem(last=False)
        return found

    async def embed_image(self, model: ModelSpec, read_image: Callable[[], Awaitable[Media]], owner: str) -> Embedding:
        """The image is read when it is its turn: many requests that wait hold no images."""
        async with self._turn(owner, may_unload=True):
            output = await self.run(self.build_task(model, EMBED, {}, [await read_image()], owner=owner))
        return output.embeddings[0]

    async def rank(self, model: ModelSpec, text: str, images: Sequence[Media], owner: str) -> tuple[MatchScore, ...]:
        """How well each of at most 16 images shows the text."""
        async with self._turn(owner):
            output = await self.run(self.build_task(model, RANK, {"text": text}, images, owner=owner))
        return output.matches

    def forget_texts(self) -> None:
        self._texts.clear()

    # ------------------------------------------------------------ tasks

    def build_task(
        self, model: ModelSpec, command: str, options: Mapping[str, Any], images: Sequence[Media] = (), *, owner: str
    ) -> Task:
        return Task(
            id=f"{command}.{secrets.token_hex(8)}",
            command=command,
            task=ZERO_SHOT_IMAGE_CLASSIFICATION,
            model=model,
            options=options,
            images=tuple(TaskImage("init", image) for image in images),
            fairness_key=blake2b(owner.encode(), key=self._secret, digest_size=8).hexdigest() if owner else "",
        )

    async def run(self, task: Task) -> TaskOutput:
        """Raises: what `Pool.run_task` does; RuntimeError: it ended without an output."""
        async with aclosing(self.pool.run_task(task)) as events:
            async for event in events:
                if isinstance(event, TaskOutput):
                    return event
                if isinstance(event, Measurement | ModelCapabilities):
                    await self.on_event(event)
        raise RuntimeError(f"{task.command} ended without an output")

    @asynccontextmanager
    async def _turn(self, owner: str, *, may_unload: bool = False) -> AsyncIterator[None]:
        """The person's previous task has ended, and a device has a slot to spare."""
        turn = self._turns.setdefault(owner, asyncio.Lock())
        async with turn:
            while (model := self.model) is not None:
                if await self._has_slot(model, may_unload=may_unload):
                    break
                await asyncio.sleep(POLL_S)
            yield

    async def _has_slot(self, model: ModelSpec, *, may_unload: bool) -> bool:
        """One that newcomers do not need; to load the model, the device has to be idle."""
        if any(model.name in offer.spare for offer in self.pool.list_offers()):
            return True
        devices = None if may_unload else await self.free_memory.find_devices(model)
        offers = [offer for offer in self.pool.list_offers() if offer.is_idle and model.name in offer.models]
        return any(devices is None or offer.device in devices for offer in offers)
