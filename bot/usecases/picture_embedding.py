"""Embeds the pictures of people's histories in the background, one at a time, so that they are found by meaning.

Nobody waits for it: it uses a device only while no job runs or waits, stops after the picture that it is at, rests as
long as that took, and loads the model only into memory that nothing else needs.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count

import structlog

from bot.errors import (
    EaselError,
    EngineError,
    Interrupted,
    MediaNotFound,
    ModelUnavailable,
    UserError,
)
from bot.jobs import Job
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION, ModelSpec
from bot.ports import EMBED, Embedding, EmbeddingSpace, EmbeddingStore, MediaStore
from bot.usecases.free_memory import FreeMemory
from bot.usecases.match_tasks import MatchTasks

log = structlog.get_logger(__name__)

CHUNK = 50
"""Jobs whose pictures are looked up together."""
POLL_S = 1.0
IDLE_LOAD_S = 60.0
"""How long nobody has used the devices before the model is loaded for this."""
MIN_REST_S = 0.05
RETRY_S = 60.0
"""The wait after a failure that is not the picture's; after each further one it is twice as long."""
MAX_DOUBLINGS = 4
LOOK_S = 300.0
"""How often to look for a new model where there is none, or after all is done."""
MAX_TRIES = 2
RECENT = 10
"""Chunks that are looked at for new pictures once all were looked through."""
LOOK_THROUGH_S = 3600.0
"""How often all are looked through again: for pictures of jobs that ended late."""


@dataclass(kw_only=True)
class PictureEmbedder:
    """`count_open`: how many jobs are queued, and how many run."""

    embeddings: EmbeddingStore
    media: MediaStore
    tasks: MatchTasks
    count_open: Callable[[], Awaitable[tuple[int, int]]]
    free_memory: FreeMemory
    is_enabled: bool = True
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    _has_news: asyncio.Event = field(default_factory=asyncio.Event)
    _busy_at: float = 0.0
    _revisions: dict[str, str] = field(default_factory=dict)
    """By model, as its last embedding says."""
    _tries: Counter[str] = field(default_factory=Counter)
    _failures: int = 0
    """Since the last embedding."""
    _looked_through: EmbeddingSpace | None = None
    _looked_at: float = 0.0

    def observe(self, job: Job) -> None:
        """A job has ended: it may have new pictures, and somebody uses the devices."""
        self._busy_at = self.clock()
        self._has_news.set()

    async def run_forever(self) -> None:
        """Until it is cancelled; after a restart it continues with what has no embedding."""
        self._busy_at = self.clock()
        while True:
            try:
                await self._keep_models()
                if not self.is_enabled:
                    return
                while not await self._embed_all():
                    pass
                await self._wait_for_news()
            except EaselError as error:
                log.info("embedding pictures waits", action="embed_waits", error=str(error) or error.code)
                await self._rest_after(error)
            except Exception as error:  # the loop must go on
                log.warning("embedding pictures failed", action="embed_failed", exc_info=error)
                await self._rest_after(error)

    async def _rest_after(self, error: Exception) -> None:
        await self.sleep(RETRY_S * 2 ** min(self._failures, MAX_DOUBLINGS))
        if not isinstance(error, Interrupted):  # people came first
            self._failures += 1

    async def _keep_models(self) -> None:
        """Delete what models that are gone have computed."""
        models = self.tasks.models.names_for(ZERO_SHOT_IMAGE_CLASSIFICATION) if self.is_enabled else []
        if deleted := await self.embeddings.keep_models(models):
            log.info("embeddings deleted", action="embeddings_deleted", count=deleted)

    async def _wait_for_news(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._has_news.wait()
        except TimeoutError:
            pass

    # ------------------------------------------------------------ which pictures

    async def _embed_all(self) -> bool:
        """Every picture without an embedding, newest first; new ones in between, before the others. Once all were
        looked through, only recent ones. False: the model or its revision has changed, so that there are more."""
        space = self._current_space()
        if space is None:
            return True
        self._has_news.clear()
        is_known = space == self._looked_through and self.clock() - self._looked_at < LOOK_THROUGH_S
        before: int | None = None
        for chunk in count(1):
            ids, before = await self.embeddings.list_unembedded(space, before=before, limit=CHUNK)
            while ids:
                if self._has_news.is_set():
                    self._has_news.clear()
                    newest, _ = await self.embeddings.list_unembedded(space, before=None, limit=CHUNK)
                    ids = list(dict.fromkeys([*newest, *ids]))
                await self._embed(ids.pop(0))
                if self._current_space() != space:
                    return False
            if before is None or (is_known and chunk == RECENT):
                break
            await self.sleep(MIN_REST_S)
        if not is_known:
            self._looked_through, self._looked_at = space, self.clock()
        return True

    def _current_space(self) -> EmbeddingSpace | None:
        model = self.tasks.model
        return None if model is None else self.tasks.space_of(model, self._revisions.get(model.name, ""))

    # ------------------------------------------------------------ one picture

    async def _embed(self, media_id: str) -> None:
        try:
            image = await self.media.read_media(media_id, None)
        except MediaNotFound:
            return  # it was deleted meanwhile
        model = await self._wait_until_idle()
        if model is None:
            return
        try:
            output = await self.tasks.run(self.tasks.build_task(model, EMBED, {}, [image], owner=""))
        except ModelUnavailable:
            raise
        except (UserError, EngineError) as error:
            await self._remember_failure(model, media_id, error)
            return
        [embedding] = output.embeddings
        self._revisions[model.name], self._failures = embedding.revision, 0
        await self.embeddings.save_embedding(media_id, embedding)
        await self.sleep(max(MIN_REST_S, output.seconds))

    async def _remember_failure(self, model: ModelSpec, media_id: str, error: EaselError) -> None:
        """A picture that fails again, for whatever reason, is not tried again with this revision.

        Raises: the error, the first time.
        """
        self._tries[media_id] += 1
        if self._tries[media_id] < MAX_TRIES:
            raise error
        del self._tries[media_id]
        log.info("a picture cannot be embedded", action="embed_refused", error=str(error) or error.code)
        space = self.tasks.space_of(model, self._revisions.get(model.name, ""))
        nothing = Embedding(model=space.model, revision=space.revision, count=0, width=0, vectors=b"")
        await self.embeddings.save_embedding(media_id, nothing)

    async def _wait_until_idle(self) -> ModelSpec | None:
        """The model, as soon as a device may run it that nobody uses; None: there is no model any more."""
        while (model := self.tasks.model) is not None:
            if any(await self.count_open()):
                self._busy_at = self.clock()
            elif self._is_loaded_and_idle(model) or await self._may_load(model):
                return model
            await self.sleep(POLL_S)
        return None

    def _is_loaded_and_idle(self, model: ModelSpec) -> bool:
        return any(offer.is_idle and model.name in offer.loaded for offer in self.tasks.pool.list_offers())

    async def _may_load(self, model: ModelSpec) -> bool:
        """Whether nobody has used the devices for a while, and one has room beside what it has loaded."""
        if self.clock() - self._busy_at < IDLE_LOAD_S:
            return False
        devices = await self.free_memory.find_devices(model)
        offers = self.tasks.pool.list_offers()  # last: nothing is awaited between it and the task
        return any(offer.is_idle and model.name in offer.models and offer.device in devices for offer in offers)
