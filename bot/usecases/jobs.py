"""Submitting, following and cancelling jobs. Each call returns only after the database has committed."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from bot.commands import Answer, find_command
from bot.errors import IdempotencyConflict, InvalidOption, JobNotFound, ShuttingDown, StorageBusy
from bot.jobs import Job, JobState
from bot.models import IMAGE_TASKS, ModelRegistry
from bot.ports import (
    ALL_JOBS,
    UNMARKED,
    DeviceStatus,
    History,
    HistoryFilter,
    JobChanges,
    JobStore,
    Limits,
    MediaStore,
    NewJob,
    People,
    Person,
    Progress,
    RequestKey,
    TokenCount,
    TokenCounter,
)
from bot.prompts.grammar import longest_prompts
from bot.prompts.resolver import PromptResolver
from bot.queue.eta import EtaEstimator
from bot.queue.fairness import queue_position
from bot.queue.pricing import Rates
from bot.queue.progress import ProgressBus
from bot.settings.core import QueueSettings, QuotaSettings
from bot.usecases.adapters import AdapterUseCases
from bot.usecases.confirming import confirmation_required, share_price
from bot.usecases.mask_check import MaskCheck
from bot.usecases.moderation import Moderation
from bot.usecases.planning import RequestPlanner
from bot.usecases.plugin_requests import PluginRequests
from bot.usecases.recalled import RecalledRequests
from bot.usecases.refused_requests import RefusedRequests, refuse_blocked
from bot.usecases.requests import JobEvent, Quote, Request, Ticket, body_hash

PREVIEW_INTERVAL_S = 0.5
QUOTE_VALID_S = 900
"""How long a quoted price stays valid."""


class JobUseCases:
    """`devices` returns their status, `wake` wakes the dispatcher, `interrupt` stops a running job, and `forget_maps`
    drops the maps and masks of pictures that are kept in memory."""

    def __init__(
        self,
        *,
        store: JobStore,
        history: History,
        media: MediaStore,
        people: People,
        models: ModelRegistry,
        rates: Rates,
        progress_bus: ProgressBus,
        moderation: Moderation,
        queue: QueueSettings,
        quota: QuotaSettings,
        wake: Callable[[Iterable[str]], None],
        interrupt: Callable[[str], None],
        devices: Callable[[], Sequence[DeviceStatus]],
        secret: bytes,
        prompt_resolver: PromptResolver | None = None,
        mask_check: MaskCheck | None = None,
        changes: JobChanges | None = None,
        forget_maps: Callable[[], None] = lambda: None,
        token_counter: TokenCounter | None = None,
        refused: RefusedRequests | None = None,
        adapters: AdapterUseCases | None = None,
        webhooks: Collection[str] = (),
        plugins: PluginRequests | None = None,
    ) -> None:
        self._store = store
        self._history = history
        self._changes = changes
        self._media = media
        self._people = people
        self._models = models
        self._rates = rates
        self._progress_bus = progress_bus
        self._moderation = moderation
        self._queue = queue
        self._quota = quota
        self._wake = wake
        self._interrupt = interrupt
        self._eta_estimator = EtaEstimator(models, rates, devices, queue.max_running)
        self._secret = secret
        prompt_resolver = prompt_resolver or PromptResolver()
        self._planner = RequestPlanner(
            store=store,
            media=media,
            people=people,
            models=models,
            rates=rates,
            moderation=moderation,
            prompt_resolver=prompt_resolver,
            recalled=RecalledRequests(media, models, prompt_resolver.list_addons),
            mask_check=mask_check,
            adapters=adapters,
            max_cells=queue.max_outstanding,
            webhooks=webhooks,
            plugins=plugins,
        )
        self._plugins = plugins
        self.forget_maps = forget_maps
        self.forget_searches: Callable[[Collection[str]], None] = lambda _owners: None
        self._token_counter = token_counter
        self.refused = refused or RefusedRequests()
        self.is_closing = False

    # ------------------------------------------------------------ submitting

    async def submit(
        self, person: Person, request: Request, *, key: str | None = None, quote: str | None = None
    ) -> list[Ticket]:
        """Accept all jobs of the request (several of a grid, or if its prompt has `{a|b}`) or none. The tickets have a
        position and an ETA unless the request wants delivery.

        Raises: InvalidOption, UnknownCommand, QuotaExceeded, QueueFull, IdempotencyConflict, MediaNotFound,
        Blocked, StorageFull, StorageBusy, ShuttingDown; PluginAnswer: a plugin answered it with a text.
        """
        if key is not None and (replay := await self.find_replay(key, body_hash(request))) is not None:
            return replay
        if quote is not None and (replay := await self._find_confirmed(person, request, quote)) is not None:
            return replay
        if self.is_closing:
            raise ShuttingDown
        refuse_blocked(person)
        async with self.refused.recorded(person, request):
            plan = await self._planner.plan(person, request)
        jobs = plan.jobs
        if len(jobs) > 1 and quote is None and not request.is_confirmed:
            raise confirmation_required(request, jobs)
        if quote is not None:
            jobs = self._apply_quote(person, request, jobs, quote)
        request_key = RequestKey(key, body_hash(request)) if key is not None else None
        limits = self._limits(person)
        accepted = await self._store.accept_jobs(jobs, key=request_key, limits=limits, quote=quote, batch=plan.batch)
        self._wake([job.id for job in accepted.jobs])
        if request.wants_delivery:
            return [Ticket(job=job) for job in accepted.jobs]  # the placeholder will show the position
        return [await self._initial_ticket(job) for job in accepted.jobs]

    async def find_replay(self, key: str, expected_hash: str | None = None) -> list[Ticket] | None:
        """The jobs of an earlier request with this key, even if their images or model are gone; None: there is none.

        Raises: IdempotencyConflict: the bodies differ; JobNotFound: the jobs were erased.
        """
        replay = await self._store.find_request(key)
        if replay is None:
            return None
        found_hash, jobs = replay
        if expected_hash is not None and found_hash != expected_hash:
            raise IdempotencyConflict(key)
        if not jobs:
            raise JobNotFound("")  # they were erased
        return [await self._initial_ticket(job) for job in jobs]

    async def _find_confirmed(self, person: Person, request: Request, quote: str) -> list[Ticket] | None:
        """The jobs that this quote was already used for, if it is the person's quote for this request."""
        replay = await self._store.find_request(f"quote:{quote}")
        if replay is None:
            return None
        terms = quote.rpartition("-")[0]
        is_valid = _is_equal(quote, self._sign_quote(person, request, len(replay[1]), terms))
        return [await self._initial_ticket(job) for job in replay[1]] if is_valid else None

    async def quote(self, person: Person, request: Request) -> Quote:
        """The price of the request, valid for `QUOTE_VALID_S`; nothing is reserved. Raises like `submit`."""
        refuse_blocked(person)
        if self._plugins is not None and self._plugins.answers_with_text(request.command):
            return Quote(jobs=0, cost=0.0, eta_s=0.0, quote="")
        jobs = (await self._planner.plan(person, request)).jobs
        cost = round(sum(job.cost for job in jobs), 3)
        return Quote(
            jobs=len(jobs),
            cost=cost,
            eta_s=round(self._eta_estimator.until_all_done_s(jobs), 1),
            quote=self._sign_quote(
                person, request, len(jobs), f"{secrets.token_hex(6)}-{time.time() + QUOTE_VALID_S:.0f}-{cost:.3f}"
            ),
            tokens=await self._count_tokens(jobs),
        )

    async def _count_tokens(self, jobs: Sequence[NewJob]) -> Mapping[str, TokenCount | None]:
        """Of the longest prompt and negative prompt of the jobs, with styles and wildcards."""
        model = self._models.get(jobs[0].model)
        texts = longest_prompts([job.options for job in jobs])
        if self._token_counter is None or model is None or not IMAGE_TASKS & set(model.tasks):
            return dict.fromkeys(texts)
        return await self._token_counter.count_tokens(model, texts)

    def _limits(self, person: Person) -> Limits:
        return Limits(
            daily_s=self.daily_allowance_s(person),
            outstanding=self._queue.max_outstanding,
            running=self._queue.max_running,
            total_queued=self._queue.max_queued,
        )

    def daily_allowance_s(self, person: Person) -> float | None:
        """The person's daily quota, device-seconds; None: unlimited."""
        if person.daily_s is not None:
            return person.daily_s
        return None if person.is_local else self._quota.daily_device_seconds or None

    def _apply_quote(self, person: Person, request: Request, jobs: list[NewJob], quote: str) -> list[NewJob]:
        """Raises: InvalidOption: the quote belongs to another person or request, or has expired."""
        terms = quote.rpartition("-")[0]
        if not _is_equal(quote, self._sign_quote(person, request, len(jobs), terms)):
            raise InvalidOption("quote", "quote")
        _, until, cost = terms.split("-")
        if time.time() > float(until):
            raise InvalidOption("quote", "quote")
        return share_price(jobs, float(cost))

    def _sign_quote(self, person: Person, request: Request, count: int, terms: str) -> str:
        """Bind the terms, "nonce-expiry-cost", to the person and the request."""
        text = json.dumps([person.id, body_hash(request), count, terms])
        return f"{terms}-{hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:32]}"

    async def check_authors(self, request: Request) -> None:
        """Before the person becomes an owner of the request's images. Raises: UnknownCommand; Blocked."""
        if find_command(request.command).answers is Answer.IMAGES:
            await self._moderation.check_authors(request.origin, request.images)

    # ------------------------------------------------------------ following

    async def get_ticket(self, person: Person, job_id: str) -> Ticket:
        """By id or a unique prefix of at least 4 characters. Raises: JobNotFound."""
        job = await self._store.get_job(job_id, person.id)
        [ticket] = await self.mark_tickets(person.id, [await self.ticket_for(job)])
        return ticket

    async def mark_tickets(self, owner: str, tickets: list[Ticket]) -> list[Ticket]:
        """With what their owner keeps of the results."""
        results = [ticket.job.id for ticket in tickets if ticket.job.result is not None]
        if self._changes is None or not results:
            return tickets
        marks = await self._changes.list_marks(owner, results)
        return [replace(ticket, marks=marks.get(ticket.job.id, UNMARKED)) for ticket in tickets]

    async def list_tickets(
        self,
        person: Person,
        *,
        state: JobState | None = None,
        q: str = "",
        only: HistoryFilter = ALL_JOBS,
        before: str | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> tuple[list[Ticket], str | None]:
        jobs, following = await self._history.list_jobs(
            person.id, state=state, q=q, only=only, before=before, after=after, limit=limit
        )
        return await self.mark_tickets(person.id, [await self.ticket_for(job) for job in jobs]), following

    async def list_found(
        self, person: Person, job_ids: Sequence[str], *, state: JobState | None = None, only: HistoryFilter = ALL_JOBS
    ) -> list[Ticket]:
        """Those of the jobs that are still listed, in this order."""
        jobs = await self._history.get_listed(person.id, job_ids, state=state, only=only)
        return await self.mark_tickets(person.id, [await self.ticket_for(job) for job in jobs])

    async def count_jobs(
        self, person: Person, *, state: JobState | None = None, q: str = "", only: HistoryFilter = ALL_JOBS
    ) -> int:
        """How many such jobs there are on all pages."""
        return await self._history.count_jobs(person.id, state=state, q=q, only=only)

    async def ticket_for(self, job: Job) -> Ticket:
        if job.state is JobState.RUNNING:
            progress = self._progress_bus.latest_progress(job.id)
            return Ticket(job=job, progress=progress, eta_s=self._remaining_s(job, progress))
        view = await self._store.queue_view(job.id) if job.state is JobState.QUEUED else None
        if view is None:
            return Ticket(job=job)
        eta = self._eta_estimator.until_result_s(job, view)
        model = self._models.get(job.model)
        arrival = self._models.install_progress(job.model)
        if arrival is not None and model is not None:
            total = round(arrival.eta_s + eta, 1) if arrival.eta_s is not None else None
            return Ticket(
                job=job, position=queue_position(view), eta_s=total, install_progress=arrival, title=model.display_name
            )
        return Ticket(job=job, position=queue_position(view), eta_s=round(eta, 1))

    async def ticket_with_progress(self, job: Job, progress: Progress) -> Ticket:
        """The ticket of a job that just made this progress; its stored state may be outdated."""
        state = JobState.QUEUED if self._waits_for_installation(job, progress) else JobState.RUNNING
        return await self.ticket_for(replace(job, state=state))

    def _waits_for_installation(self, job: Job, progress: Progress) -> bool:
        return progress.phase == "waiting" and self._models.install_progress(job.model) is not None

    async def _initial_ticket(self, job: Job) -> Ticket:
        """A ticket for an accepted job; without a position if the database is busy, as the job stays accepted."""
        try:
            return await self.ticket_for(job)
        except StorageBusy:
            return Ticket(job=job)

    def _remaining_s(self, job: Job, progress: Progress | None) -> float | None:
        if progress is None or (not progress.steps and progress.load_s is None):
            return None
        left_s = self._eta_estimator.remaining_s(job, progress)
        return None if left_s is None else round(left_s, 1)

    async def follow_job(self, person: Person, job_id: str, *, wants_previews: bool = True) -> AsyncIterator[JobEvent]:
        """The current state, then progress (at most twice a second) and every change, up to `result` or `error`.

        Raises: JobNotFound, before the first event.
        """
        ticket = await self.get_ticket(person, job_id)
        with self._progress_bus.follow_job(ticket.job.id, wants_previews=wants_previews) as follower:
            ticket = await self.get_ticket(person, ticket.job.id)
            yield JobEvent(kind="state", ticket=ticket)
            while not ticket.job.state.is_final:
                changed, progress = await follower.next()
                if changed or (progress is not None and self._waits_for_installation(ticket.job, progress)):
                    ticket = await self.get_ticket(person, ticket.job.id)
                    if not ticket.job.state.is_final:
                        yield JobEvent(kind="state", ticket=ticket)
                elif progress is not None:
                    yield self._to_progress_event(ticket, progress)
                    await follower.pause(PREVIEW_INTERVAL_S)
            succeeded = ticket.job.state in (JobState.RENDERED, JobState.DELIVERED)
            yield JobEvent(kind="result" if succeeded else "error", ticket=ticket)

    def _to_progress_event(self, ticket: Ticket, progress: Progress) -> JobEvent:
        left_s = self._remaining_s(ticket.job, progress)
        return JobEvent(kind="progress", ticket=replace(ticket, progress=progress, position=None, eta_s=left_s))

    async def progress_event(self, job: Job, progress: Progress) -> JobEvent:
        """`progress`, or the `state` of a job that waits for its model to be installed."""
        if self._waits_for_installation(job, progress):
            return JobEvent(kind="state", ticket=await self.ticket_with_progress(job, progress))
        return self._to_progress_event(Ticket(job=job), progress)

    async def wait_for_job(self, person: Person, job_id: str, *, wants_previews: bool = True) -> Job:
        """The job in its final state."""
        async for event in self.follow_job(person, job_id, wants_previews=wants_previews):
            job = event.ticket.job
        return job

    # ------------------------------------------------------------ cancelling

    async def cancel_job(self, person: Person, job_id: str) -> Ticket:
        """Queued: immediately; running: at the next step. Raises: JobNotFound, NotCancellable."""
        job = await self._store.request_cancel(job_id, person.id)
        if job.state is JobState.RUNNING:
            self._interrupt(job.id)
        self._progress_bus.publish_change(job.id)
        self._wake([])  # its chat message is updated immediately
        return await self.ticket_for(job)

    def wake(self) -> None:
        """Jobs or messages are due."""
        self._wake([])

    def on_changed(self, job: Job) -> None:
        """Notify its followers, and update its chat message."""
        self._progress_bus.publish_change(job.id)
        self._wake([])

    def on_erased(self, jobs: Iterable[Job]) -> None:
        """Stop erased jobs that are running, and notify their followers."""
        owners: set[str] = set()
        for job in jobs:
            if job.state is JobState.RUNNING:
                self._interrupt(job.id)
            self._progress_bus.publish_change(job.id)
            owners.add(job.owner)
        self.forget_maps()
        self.forget_searches(owners)


def _is_equal(given: str, expected: str) -> bool:
    """Compare in constant time; `given` may have any characters."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
