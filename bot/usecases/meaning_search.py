"""Search in a person's jobs by words and by what their pictures show, in one ranked list.

A search answers in three stages. The words are found in the database. The nearest pictures follow from vectors; the
model that makes the words' vector may have to be loaded for it. Then the matching model compares the best pictures with
the words, which reorders the first page. Whoever does not wait for the stages asks again with `is_refined`.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import structlog

from bot.errors import EaselError, MediaNotFound
from bot.jobs import JobState, Media
from bot.options import clean_text
from bot.ports import ALL_JOBS, EmbeddingStore, History, HistoryFilter, MediaStore, Person
from bot.usecases.jobs import JobUseCases
from bot.usecases.match_tasks import MatchTasks
from bot.usecases.meaning_ranking import FoundJobs, join_found, nearest_jobs
from bot.usecases.requests import Ticket

log = structlog.get_logger(__name__)

CANDIDATES = 500
"""Pictures that are compared by all of their vectors."""
MAX_FOUND = 10_000
"""Jobs in a ranked list."""
PATIENCE_S = 0.3
"""How long a first answer waits for the pictures."""
REFINE_S = 20.0
"""How long an answer waits for all stages; then it has those that are done."""
LIMIT_S = 120.0
"""How long the stages may take, with loading the model; meanwhile the person may search again."""
KEPT_S = 600.0
"""How long a ranked list stays, for its next pages."""
MAX_LISTS = 64
MAX_PAGES = 256
"""Pages that are remembered, so that what follows is found after the last job of one was deleted."""
MAX_MATCHED_BYTES = 32 * 2**20
"""Of the pictures that are compared with the words together; larger ones keep their places."""


@dataclass(frozen=True, kw_only=True)
class FoundPage:
    """`total`: on all pages. `is_refined`: all stages are done, as far as they will be."""

    tickets: list[Ticket]
    next: str | None
    total: int
    is_refined: bool


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched for. `page`: jobs of the first page, among which the matching model reorders."""

    owner: str
    words: str
    state: JobState | None = None
    only: HistoryFilter = ALL_JOBS
    page: int = 20


@dataclass(eq=False)
class _Ranking:
    """`is_told`: somebody has waited for all stages; `is_broken`: they ended early."""

    found: FoundJobs
    begun_at: float
    used_at: float
    is_told: bool = False
    is_broken: bool = False
    has_meaning: asyncio.Event = field(default_factory=asyncio.Event)
    is_done: asyncio.Event = field(default_factory=asyncio.Event)
    work: "asyncio.Task[None] | None" = None

    def is_awaited(self, now: float) -> bool:
        """Whether a first answer did not wait for the stages, so that a second one does."""
        return not self.is_told and not self.is_broken and now - self.begun_at < LIMIT_S


@dataclass(frozen=True)
class _Page:
    """`start`: the place of its first job in its list."""

    start: int
    ids: tuple[str, ...]


@dataclass(kw_only=True)
class MeaningSearch:
    """`is_enabled`: whether pictures are embedded; if not, only words are found."""

    jobs: JobUseCases
    history: History
    embeddings: EmbeddingStore
    media: MediaStore
    tasks: MatchTasks
    is_enabled: bool = True
    clock: Callable[[], float] = time.monotonic

    _rankings: OrderedDict[Search, _Ranking] = field(default_factory=OrderedDict)
    _pages: OrderedDict[tuple[str, str], _Page] = field(default_factory=OrderedDict)
    """By person and the last job."""

    async def search(
        self,
        person: Person,
        words: str,
        *,
        state: JobState | None = None,
        only: HistoryFilter = ALL_JOBS,
        before: str | None = None,
        offset: int = 0,
        limit: int = 20,
        is_refined: bool = False,
        wait_s: float = REFINE_S,
    ) -> FoundPage:
        """A page of the ranked list: after the job `before`, or after `offset` jobs.

        `is_refined`: wait for all stages, at most `wait_s`. Raises: StorageBusy.
        """
        search = Search(owner=person.id, words=words.strip(), state=state, only=only, page=limit)
        is_first = before is None and not offset
        ranking = self._recall(search, is_first=is_first) if is_refined or not is_first else None
        ranking = ranking or await self._begin(search, uses_models=not person.is_blocked)
        await _wait(ranking.is_done, wait_s) if is_refined else await _wait(ranking.has_meaning, PATIENCE_S)
        ids, is_done = ranking.found.ids, ranking.is_done.is_set()
        ranking.is_told = ranking.is_told or (is_first and is_done)
        start = offset if before is None else self._find_start(ids, person.id, before)
        page = ids[start : start + limit]
        tickets = await self.jobs.list_found(person, page, state=state, only=only)
        following = page[-1] if start + limit < len(ids) else None
        if following is not None:
            self._remember_page(person.id, _Page(start, page))
        return FoundPage(tickets=tickets, next=following, total=len(ids), is_refined=is_done)

    def forget(self, owners: Collection[str]) -> None:
        """Drop what is in memory of the owners' searches and pictures: something of theirs was erased."""
        for search in [one for one in self._rankings if one.owner in owners]:
            work = self._rankings.pop(search).work
            if work is not None:
                work.cancel()
        self.tasks.forget_texts()
        self.embeddings.drop_cached(owners)

    async def close(self) -> None:
        works = [one.work for one in self._rankings.values() if one.work is not None]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    # ------------------------------------------------------------ lists

    def _recall(self, search: Search, *, is_first: bool) -> _Ranking | None:
        """The list of an earlier answer, whose first page may have had another length; a further first page only joins
        the stages that an answer did not wait for: whoever searches again sees what is new."""
        now = self.clock()
        for known, ranking in reversed(self._rankings.items()):
            is_same = known == search or (not is_first and replace(known, page=search.page) == search)
            if is_same and (ranking.is_awaited(now) if is_first else now - ranking.used_at < KEPT_S):
                ranking.used_at = now
                return ranking
        return None

    def _find_start(self, ids: tuple[str, ...], owner: str, before: str) -> int:
        """Behind the job; if it was deleted, behind what is left of its page; at the end, if it never was the last of a
        page."""
        if before in ids:
            return ids.index(before) + 1
        page = self._pages.get((owner, before))
        if page is None:
            return len(ids)
        places = {one: place for place, one in enumerate(ids)}
        left = [places[one] for one in page.ids if one in places]
        return left[-1] + 1 if left else page.start

    def _remember_page(self, owner: str, page: _Page) -> None:
        self._pages[owner, page.ids[-1]] = page
        while len(self._pages) > MAX_PAGES:
            self._pages.popitem(last=False)

    async def _begin(self, search: Search, *, uses_models: bool) -> _Ranking:
        """Find the words, and start to find the meaning; the person's previous search stops.

        `uses_models`: otherwise only words are found, as for blocked persons, who keep their history.
        """
        for known, ranking in self._rankings.items():
            if known.owner == search.owner and ranking.work is not None:
                ranking.work.cancel()
        words = await self.history.list_ids(
            search.owner, state=search.state, q=search.words, only=search.only, limit=MAX_FOUND
        )
        now = self.clock()
        ranking = _Ranking(FoundJobs(tuple(words)), begun_at=now, used_at=now)
        self._rankings.pop(search, None)
        self._rankings[search] = ranking
        while len(self._rankings) > MAX_LISTS:
            self._rankings.popitem(last=False)
        if not uses_models:
            ranking.has_meaning.set()
            ranking.is_done.set()
            return ranking
        ranking.work = asyncio.create_task(self._complete(search, ranking), name="search by meaning")
        return ranking

    # ------------------------------------------------------------ stages

    async def _complete(self, search: Search, ranking: _Ranking) -> None:
        """The outermost frame of a background task. Whatever fails, what was found before stays."""
        is_complete = False
        try:
            async with asyncio.timeout(LIMIT_S):
                await self._find_pictures(search, ranking)
                ranking.has_meaning.set()
                await self._match_pictures(search, ranking)
            is_complete = True
        except (TimeoutError, EaselError) as error:
            log.debug("a search ended early", action="search_ended", error=str(error))
        except Exception as error:  # words still find
            log.warning("a search by meaning failed", action="search_failed", exc_info=error)
        finally:
            ranking.is_broken = not is_complete
            ranking.has_meaning.set()
            ranking.is_done.set()

    async def _find_pictures(self, search: Search, ranking: _Ranking) -> None:
        model, words = self.tasks.model, clean_text(search.words)
        if model is None or not self.is_enabled or not words:
            return
        text = await self.tasks.embed_text(model, words, search.owner)
        if text is None:
            return
        near = await self.embeddings.find_nearest(
            search.owner,
            self.tasks.space_of(model, text.revision),
            text,
            limit=CANDIDATES,
            among=await self._list_among(search),
        )
        jobs = nearest_jobs(near)
        listed = await self.history.list_ids(
            search.owner, state=search.state, q="", only=search.only, among=list(jobs), limit=len(jobs)
        )
        pictures = {job: picture for job, picture in jobs.items() if job in set(listed)}
        ranking.found = join_found(ranking.found.ids, pictures)

    async def _list_among(self, search: Search) -> list[str] | None:
        """The jobs that a filter lists, if it may leave out most of them; None: it may not."""
        if search.state is None and replace(search.only, results=False) == ALL_JOBS:
            return None
        return await self.history.list_ids(search.owner, state=search.state, q="", only=search.only, limit=MAX_FOUND)

    async def _match_pictures(self, search: Search, ranking: _Ranking) -> None:
        """Compare the words with the pictures of the first page."""
        model, wanted = self.tasks.model, ranking.found.to_match(search.page)
        if model is None or len(wanted) < 2:
            return
        images: list[tuple[str, Media]] = []
        left = MAX_MATCHED_BYTES
        for job, picture in wanted:
            image = await self._read(picture, search.owner)
            if image is not None and len(image.data) <= left:
                left -= len(image.data)
                images.append((job, image))
        if len(images) < 2:
            return
        matches = await self.tasks.rank(model, clean_text(search.words), [image for _, image in images], search.owner)
        ranking.found = ranking.found.reorder(dict(zip((job for job, _ in images), matches, strict=True)))

    async def _read(self, media_id: str, owner: str) -> Media | None:
        """None: it was deleted meanwhile."""
        try:
            return await self.media.read_media(media_id, owner)
        except MediaNotFound:
            return None


async def _wait(event: asyncio.Event, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await event.wait()
    except TimeoutError:
        pass
