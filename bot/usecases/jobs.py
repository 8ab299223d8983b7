"""Asking for jobs, watching them, cancelling them.

Nothing here answers before the database has committed.
"""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bot.commands import Command, Imagine, Upscale
from bot.commands.defaults import SIZES, with_wishes
from bot.errors import IdempotencyConflict, InvalidOption, JobNotFound, ShuttingDown, StorageBusy
from bot.jobs import Job, JobState, new_job_id
from bot.models import ARRIVING, Models, ModelSpec
from bot.options import MAX_SEED
from bot.ports import DeviceStatus, History, JobStore, Limits, MediaStore, NewJob, People, Person, Progress, RequestKey
from bot.prompts.combinations import combinations
from bot.prompts.resolver import Wording
from bot.queue.eta import Forecasts
from bot.queue.fairness import position
from bot.queue.pricing import Rates, estimate_s, price
from bot.queue.progress import Events
from bot.settings.core import QueueSettings, QuotaSettings
from bot.usecases.moderation import Moderation
from bot.usecases.requests import Event, Quote, Request, Ticket

PREVIEW_INTERVAL_S = 0.5
QUOTE_S = 900
"""How long a quoted price is kept, whatever is measured meanwhile."""


class JobUseCases:
    """`devices` says what works now; `wake` tells the dispatcher; `interrupt` stops a running job."""

    def __init__(
        self,
        *,
        store: JobStore,
        history: History,
        media: MediaStore,
        people: People,
        models: Models,
        rates: Rates,
        events: Events,
        moderation: Moderation,
        queue: QueueSettings,
        quota: QuotaSettings,
        wake: Callable[[Iterable[str]], None],
        interrupt: Callable[[str], None],
        devices: Callable[[], Sequence[DeviceStatus]],
        secret: bytes,
        wording: Wording | None = None,
    ) -> None:
        self._store = store
        self._history = history
        self._media = media
        self._people = people
        self._models = models
        self._rates = rates
        self._events = events
        self._moderation = moderation
        self._queue = queue
        self._quota = quota
        self._wake = wake
        self._interrupt = interrupt
        self._forecasts = Forecasts(models, rates, devices, queue.max_running)
        self._secret = secret
        self._wording = wording or Wording()
        self.is_closing = False

    # ------------------------------------------------------------ asking

    async def submit(
        self, person: Person, request: Request, *, key: str | None = None, quote: str | None = None
    ) -> list[Ticket]:
        """Accept the request's jobs (several when its prompt has `{a|b}`), all or none. Their place in the queue is
        told where nobody else tells it.

        Raises: InvalidOption, UnknownCommand, QuotaExceeded, QueueFull, IdempotencyConflict, MediaNotFound,
        Blocked, StorageFull, StorageBusy, ShuttingDown.
        """
        if key is not None and (seen := await self.replayed(key, body_hash(request))) is not None:
            return seen
        if quote is not None and (seen := await self._confirmed(person, request, quote)) is not None:
            return seen
        if self.is_closing:
            raise ShuttingDown
        jobs = await self._plan(person, request)
        if len(jobs) > 1 and quote is None and not request.is_confirmed:
            raise _unconfirmed(request, jobs)
        if quote is not None:
            jobs = self._at_quoted_price(person, request, jobs, quote)
        request_key = RequestKey(key, body_hash(request)) if key is not None else None
        accepted = await self._store.accept(jobs, key=request_key, limits=self._limits(person), quote=quote)
        self._wake([job.id for job in accepted.jobs])
        if request.wants_delivery:
            return [Ticket(job=job) for job in accepted.jobs]  # the placeholder says where it stands
        return [await self._first_ticket(job) for job in accepted.jobs]

    async def replayed(self, key: str, expected_hash: str | None = None) -> list[Ticket] | None:
        """What the key was used for before, whatever has become of its pictures and model since; None: nothing.

        Raises: IdempotencyConflict when the body was another, JobNotFound when the jobs were erased.
        """
        seen = await self._store.seen(key)
        if seen is None:
            return None
        found_hash, jobs = seen
        if expected_hash is not None and found_hash != expected_hash:
            raise IdempotencyConflict(key)
        if not jobs:
            raise JobNotFound("")  # erased since
        return [await self._first_ticket(job) for job in jobs]

    async def _confirmed(self, person: Person, request: Request, quote: str) -> list[Ticket] | None:
        """What the quote was confirmed for before, if it is this person's for this request."""
        seen = await self._store.seen(f"quote:{quote}")
        if seen is None:
            return None
        terms = quote.rpartition("-")[0]
        is_theirs = _is_same(quote, self._sign(person, request, len(seen[1]), terms))
        return [await self._first_ticket(job) for job in seen[1]] if is_theirs else None

    async def quote(self, person: Person, request: Request) -> Quote:
        """What the request costs if it is confirmed within `QUOTE_S`; nothing is reserved. Raises like `submit`."""
        jobs = await self._plan(person, request)
        cost = round(sum(job.cost for job in jobs), 3)
        return Quote(
            jobs=len(jobs),
            cost=cost,
            eta_s=round(self._forecasts.all_in_s(jobs), 1),
            quote=self._sign(
                person, request, len(jobs), f"{secrets.token_hex(6)}-{time.time() + QUOTE_S:.0f}-{cost:.3f}"
            ),
        )

    async def _plan(self, person: Person, request: Request) -> list[NewJob]:
        if request.parent is not None and request.is_parent_own:
            await self._store.get(request.parent, person.id)
        command = request.read()
        pictures = [await self._media.picture(image.id, person.id) for image in command.images]
        command = command.with_images(pictures)
        aspect = pictures[0].width / pictures[0].height if pictures else None
        if request.use_defaults:
            command = with_wishes(command, await self._defaults(person, command), self._models, aspect)
        model = command.choose_model(self._models)
        seed = secrets.randbelow(MAX_SEED + 1)
        each = _each_combination(command)
        batch = new_job_id() if len(each) > 1 else None
        filled = [(one, await self._options(one, model, seed, aspect)) for one in each]
        await self._moderation.check(request.origin, model, filled)
        return [self._new_job(person, request, one, model, options, batch) for one, options in filled]

    async def _options(self, command: Command, model: ModelSpec, seed: int, aspect: float | None) -> dict[str, Any]:
        """Every option with its value, and the prompts that will be drawn. A larger picture is one of an earlier
        prompt, perhaps by another model: LoRAs that this one cannot take are left out there."""
        options = command.fill_options(model, seed, aspect)
        return await self._wording.settled(options, model, must_fit=command.name != Upscale.name)

    async def _defaults(self, person: Person, command: Command) -> Mapping[str, Any]:
        """The person's own. A picture to start from keeps its aspect, whatever size they like."""
        kept = await self._people.settings(person.id)
        return {name: value for name, value in kept.items() if name not in SIZES} if command.images else kept

    def _new_job(
        self,
        person: Person,
        request: Request,
        command: Command,
        model: ModelSpec,
        options: dict[str, Any],
        batch: str | None,
    ) -> NewJob:
        return NewJob(
            id=new_job_id(),
            owner=person.id,
            origin=request.origin,
            command=command.name,
            options=options,
            images=command.images,
            task=command.task,
            model=model.name,
            cost=price(command, model, options, self._rates),
            estimate_s=estimate_s(command, model, options, self._rates),
            needle=command.needle,
            parent=request.parent,
            batch=batch,
            wants_delivery=request.wants_delivery,
        )

    def _limits(self, person: Person) -> Limits:
        return Limits(
            daily_s=self.daily_s(person),
            outstanding=self._queue.max_outstanding,
            running=self._queue.max_running,
            house_queued=self._queue.max_queued,
        )

    def daily_s(self, person: Person) -> float | None:
        """The person's allowance per day, device-seconds; None: unlimited."""
        if person.daily_s is not None:
            return person.daily_s
        return None if person.is_local else self._quota.daily_device_seconds or None

    def _at_quoted_price(self, person: Person, request: Request, jobs: list[NewJob], quote: str) -> list[NewJob]:
        """Raises: InvalidOption: the quote is of another person or request, or too old."""
        terms = quote.rpartition("-")[0]
        if not _is_same(quote, self._sign(person, request, len(jobs), terms)):
            raise InvalidOption("quote", "quote")
        _, until, cost = terms.split("-")
        if time.time() > float(until):
            raise InvalidOption("quote", "quote")
        return [replace(job, cost=float(cost) / len(jobs)) for job in jobs]

    def _sign(self, person: Person, request: Request, count: int, terms: str) -> str:
        """Binds the terms, "unique name-valid until-cost", to the person and the request."""
        text = json.dumps([person.id, body_hash(request), count, terms])
        return f"{terms}-{hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:32]}"

    # ------------------------------------------------------------ watching

    async def get(self, person: Person, job_id: str) -> Ticket:
        """By id or any unique prefix of 4 or more. Raises: JobNotFound."""
        return await self.ticket(await self._store.get(job_id, person.id))

    async def page(
        self,
        person: Person,
        *,
        state: JobState | None = None,
        q: str = "",
        before: str | None = None,
        limit: int = 20,
    ) -> tuple[list[Ticket], str | None]:
        jobs, following = await self._history.page(person.id, state=state, q=q, before=before, limit=limit)
        return [await self.ticket(job) for job in jobs], following

    async def ticket(self, job: Job) -> Ticket:
        if job.state is JobState.RUNNING:
            progress = self._events.latest(job.id)
            return Ticket(job=job, progress=progress, eta_s=self._left_s(job, progress))
        view = await self._store.queue_view(job.id) if job.state is JobState.QUEUED else None
        if view is None:
            return Ticket(job=job)
        eta = self._forecasts.ends_in_s(job, view)
        model = self._models.get(job.model)
        arrival = self._models.arrival(job.model)
        if arrival is not None and model is not None:
            total = round(arrival.eta_s + eta, 1) if arrival.eta_s is not None else None
            return Ticket(job=job, position=position(view), eta_s=total, arrival=arrival, title=model.called)
        return Ticket(job=job, position=position(view), eta_s=round(eta, 1))

    async def ticket_at(self, job: Job, progress: Progress) -> Ticket:
        """The ticket of a job that has just made this progress, whatever state it was read in."""
        state = JobState.QUEUED if progress.note == ARRIVING else JobState.RUNNING
        return await self.ticket(replace(job, state=state))

    async def _first_ticket(self, job: Job) -> Ticket:
        """The job is accepted: that its place in the queue cannot be read just now does not make it refused."""
        try:
            return await self.ticket(job)
        except StorageBusy:
            return Ticket(job=job)

    def _left_s(self, job: Job, progress: Progress | None) -> float | None:
        if progress is None or not progress.steps:
            return None
        return round(self._forecasts.left_s(job, progress), 1)

    async def follow(self, person: Person, job_id: str) -> AsyncIterator[Event]:
        """State at once, then progress (at most two a second) and each change, up to `result` or `error`.

        Raises: JobNotFound, before anything is yielded.
        """
        ticket = await self.get(person, job_id)
        with self._events.follow(ticket.job.id) as follower:
            ticket = await self.get(person, ticket.job.id)
            yield Event(kind="state", ticket=ticket)
            while not ticket.job.state.is_final:
                changed, progress = await follower.next()
                if changed or (progress is not None and progress.note == ARRIVING):
                    ticket = await self.get(person, ticket.job.id)
                    if not ticket.job.state.is_final:
                        yield Event(kind="state", ticket=ticket)
                elif progress is not None:
                    left = self._left_s(ticket.job, progress)
                    yield Event(
                        kind="progress",
                        ticket=replace(ticket, progress=progress, position=None, eta_s=left),
                    )
                    await follower.rest(PREVIEW_INTERVAL_S)
            succeeded = ticket.job.state in (JobState.RENDERED, JobState.DELIVERED)
            yield Event(kind="result" if succeeded else "error", ticket=ticket)

    async def wait(self, person: Person, job_id: str) -> Job:
        """The job once nothing more will be computed for it."""
        async for event in self.follow(person, job_id):
            job = event.ticket.job
        return job

    # ------------------------------------------------------------ cancelling

    async def cancel(self, person: Person, job_id: str) -> Ticket:
        """Queued: now; running: at the next step. Raises: JobNotFound, NotCancellable."""
        job = await self._store.request_cancel(job_id, person.id)
        if job.state is JobState.RUNNING:
            self._interrupt(job.id)
        self._events.changed(job.id)
        self._wake([])  # a chat is told at once, too
        return await self.ticket(job)

    def gone(self, jobs: Iterable[Job]) -> None:
        """They were erased: those that run are stopped, and whoever follows them looks again."""
        for job in jobs:
            if job.state is JobState.RUNNING:
                self._interrupt(job.id)
            self._events.changed(job.id)


def _unconfirmed(request: Request, jobs: Sequence[NewJob]) -> InvalidOption:
    """Several pictures are priced and confirmed first: with a quote, or in a chat with a word."""
    if not request.wants_delivery:
        return InvalidOption("quote", "needs_quote", value=len(jobs))
    cost = sum(job.cost for job in jobs)
    if not cost:
        return InvalidOption("confirm", "needs_confirm_free", value=len(jobs))
    return InvalidOption("confirm", "needs_confirm", value=len(jobs), allowed=f"{cost:g}")


def _is_same(given: str, right: str) -> bool:
    """In constant time, whatever characters were given."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), right.encode())


def _each_combination(command: Command) -> list[Command]:
    if not isinstance(command, Imagine):
        return [command]
    prompts = combinations(command.values["prompt"])
    if not all(prompts):
        raise InvalidOption("prompt", "empty")
    return [replace(command, values={**command.values, "prompt": prompt}) for prompt in prompts]


def body_hash(request: Request) -> str:
    """SHA-256 hex over what was asked, independent of key order."""
    body = {
        "command": request.command,
        "options": dict(request.options),
        "line": request.line,
        "images": [[image.id, image.role] for image in request.images],
        "parent": request.parent,
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
