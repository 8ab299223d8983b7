"""Fakes for slow and remote components, and factories for the core's values.

Every fake records its calls. `failures["save_result"] = [StorageBusy()]` makes the next such call raise; a gate in
`gates["claim_job"]` delays the answers of such calls, after their work is done, until it is set.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bot.errors import IdempotencyConflict, Interrupted, JobCancelled, JobNotFound, MediaNotFound, NotCancellable
from bot.jobs import TRANSITIONS, Job, JobState, Media, Origin, Result, StoredImage, new_job_id
from bot.models import IMAGE_UPSCALING, TASKS, TEXT_TO_IMAGE, ModelSpec
from bot.ports import (
    AcceptResult,
    Delivery,
    DeviceStatus,
    FairShareLane,
    LeaseRenewal,
    Measurement,
    MediaStream,
    Offer,
    Person,
    Progress,
    QueueView,
    RenderedImage,
    SanitizedImage,
    TaskOutput,
    UnloadResult,
    UploadUsage,
)

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def make_origin(**overrides: Any) -> Origin:
    return Origin(**{"platform": "web", "space_id": "web", "account_id": "ann", **overrides})


def make_person(**overrides: Any) -> Person:
    return Person(**{"id": "ann", "name": "Ann", **overrides})


def make_model(**overrides: Any) -> ModelSpec:
    """It can do everything but enlarge, so that `upscale` refines."""
    tasks = tuple(task for task in TASKS if task != IMAGE_UPSCALING)
    plain = {"name": "fox-diffusion", "tasks": tasks, "repo": "models/fox", "width": 512, "height": 512}
    return ModelSpec(**{**plain, **overrides})


def make_job(**overrides: Any) -> Job:
    """A queued job of Ann's."""
    plain = {
        "id": new_job_id(),
        "owner": "ann",
        "origin": make_origin(),
        "command": "imagine",
        "options": {"prompt": "a fox", "seed": 7, "steps": 2, "count": 1, "width": 512, "height": 512},
        "task": TEXT_TO_IMAGE,
        "model": "fox-diffusion",
        "created_at": NOON,
    }
    return Job(**{**plain, **overrides})


def make_chat_job(**overrides: Any) -> Job:
    return make_job(**{"origin": make_origin(platform="chat", chat_id="7"), **overrides})


def make_done(**overrides: Any) -> TaskOutput:
    picture = RenderedImage(media=Media(b"a fox", "image/png"), width=512, height=512, parameters="a fox\nSteps: 2")
    return TaskOutput(**{"images": (picture,), "revision": "r1", "seconds": 1.5, **overrides})


def make_result(**overrides: Any) -> Result:
    picture = StoredImage(id=media_id(b"a fox"), media_type="image/png", width=512, height=512)
    return Result(**{"media": (picture,), "seed": 7, "model": "fox-diffusion", **overrides})


def media_id(data: bytes) -> str:
    return sha256(data).hexdigest()


async def eventually(is_true: Any, within_s: float = 30.0) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(within_s):
        while not is_true():  # noqa: ASYNC110 - it may be anything
            await asyncio.sleep(0.002)


class Fake:
    def __init__(self) -> None:
        self.calls: list[tuple[str, SimpleNamespace]] = []
        self.failures: defaultdict[str, list[BaseException | None]] = defaultdict(list)
        self.gates: dict[str, asyncio.Event] = {}

    def called(self, name: str) -> list[SimpleNamespace]:
        return [arguments for call, arguments in self.calls if call == name]

    def _begin(self, name: str, **arguments: Any) -> None:
        self.calls.append((name, SimpleNamespace(**arguments)))
        failure = self.failures[name].pop(0) if self.failures[name] else None
        if failure is not None:  # None: this one succeeds
            raise failure

    async def _end(self, name: str) -> None:
        gate = self.gates.get(name)
        await (gate.wait() if gate is not None else asyncio.sleep(0))


class FakeJobStore(Fake):
    """A queue without fairness: the oldest runnable job first. It allows only valid `TRANSITIONS`."""

    def __init__(self, *jobs: Job) -> None:
        super().__init__()
        self.jobs: dict[str, Job] = {job.id: job for job in jobs}
        self.exclusive: set[str] = set()
        self.lost: set[str] = set()
        self.renewal: LeaseRenewal | None = None
        self.keys: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.refunds: list[str] = []
        self.captures: list[str] = []
        self.view = QueueView(
            own_ahead=0, person=FairShareLane(vtime=0, backlog=1), people=(),
            space=FairShareLane(vtime=0, backlog=1), spaces=(), mean_s=2.0, running=0,
        )  # fmt: skip

    def add(self, *jobs: Job, exclusive: bool = False) -> None:
        self.jobs |= {job.id: job for job in jobs}
        self.exclusive |= {job.id for job in jobs if exclusive}

    def state(self, job: Job) -> JobState:
        return self.jobs[job.id].state

    def _change_state(self, job: Job, state: JobState, **changes: Any) -> Job:
        assert state in TRANSITIONS[job.state], f"{job.state} to {state}"
        if state in (JobState.FAILED, JobState.DEAD, JobState.CANCELLED):
            self.refunds.append(job.id)
        if state is JobState.RENDERED:
            self.captures.append(job.id)
        self.jobs[job.id] = replace(job, state=state, version=job.version + 1, **changes)
        return self.jobs[job.id]

    def _claimed(self, job_id: str, attempt: int) -> Job | None:
        job = self.jobs[job_id]
        return job if job.state is JobState.RUNNING and job.attempt == attempt and job_id not in self.lost else None

    async def accept_jobs(self, jobs, *, key, limits, quote=None, batch=None) -> AcceptResult:
        self._begin("accept_jobs", jobs=jobs, key=key, limits=limits, quote=quote)
        keys = {**({key.key: key.body_hash} if key else {}), **({f"quote:{quote}": ""} if quote else {})}
        for name in keys.keys() & self.keys.keys():
            body_hash, ids = self.keys[name]
            if body_hash != keys[name]:
                raise IdempotencyConflict(name)
            return AcceptResult(tuple(self.jobs[one] for one in ids), is_replay=True)
        names = ("id", "owner", "origin", "command", "options", "images", "task", "model", "cost", "parent", "batch")
        made = [Job(created_at=NOON, **{name: getattr(new, name) for name in names}) for new in jobs]
        self.add(*made)
        self.keys |= {name: (body_hash, tuple(job.id for job in made)) for name, body_hash in keys.items()}
        await self._end("accept_jobs")
        return AcceptResult(tuple(made), is_replay=False)

    async def find_request(self, key) -> tuple[str, tuple[Job, ...]] | None:
        self._begin("find_request", key=key)
        if key not in self.keys:
            return None
        body_hash, ids = self.keys[key]
        return body_hash, tuple(self.jobs[one] for one in ids if one in self.jobs)

    async def find_recent_request(self, prefix, body_hash, since) -> tuple[Job, ...]:
        self._begin("find_recent_request", prefix=prefix)
        found = [
            ids for key, (found_hash, ids) in self.keys.items() if key.startswith(prefix) and found_hash == body_hash
        ]
        return tuple(self.jobs[one] for one in (found or [()])[-1])

    async def claim_job(self, offer, *, max_running, lease_s, swap_wait_s, only=None) -> Job | None:
        self._begin("claim_job", offer=offer, only=only)
        running = [job.owner for job in self.jobs.values() if job.state is JobState.RUNNING]
        able = [
            job
            for job in self.jobs.values()
            if job.state is JobState.QUEUED
            and job.model in offer.models
            and (running.count(job.owner) < max_running or job.model in offer.spare)
            and (only is None or job.id in only)
            and (offer.is_idle or job.id not in self.exclusive)
        ]
        first = min(able, key=lambda job: job.id not in self.exclusive, default=None)
        if first is not None:
            first = self._change_state(first, JobState.RUNNING, attempt=first.attempt + 1, started_at=NOON)
        await self._end("claim_job")
        return first

    async def renew_leases(self, leases, lease_s) -> LeaseRenewal:
        self._begin("renew_leases", leases=leases)
        ours = {one for one, attempt in leases.items() if self._claimed(one, attempt)}
        await self._end("renew_leases")
        if self.renewal is not None:
            return self.renewal
        asked = frozenset(one for one in ours if self.jobs[one].cancel_requested)
        return LeaseRenewal(cancel_requested=asked, lost=frozenset(leases.keys() - ours))

    async def save_result(self, job_id, attempt, result) -> Job | None:
        self._begin("save_result", job_id=job_id, attempt=attempt, result=result)
        job = self._claimed(job_id, attempt)
        await self._end("save_result")
        if job is None or not job.cancel_requested:
            return job and self._change_state(job, JobState.RENDERED, result=result, finished_at=NOON)
        return self._change_state(job, JobState.CANCELLED, finished_at=NOON)

    async def end_job(self, job_id, attempt, state, error, *, used_s=0.0) -> Job | None:
        self._begin("end_job", job_id=job_id, attempt=attempt, state=state, error=error, used_s=used_s)
        job = self._claimed(job_id, attempt)
        await self._end("end_job")
        return job and self._change_state(job, state, error=error, finished_at=NOON)

    async def orphaned(self, models, limit) -> list[Job]:
        self._begin("orphaned", models=models)
        waiting = [job for job in self.jobs.values() if job.state is JobState.QUEUED and job.model not in models]
        return waiting[:limit]

    async def fail_queued(self, job_id, error) -> Job | None:
        self._begin("fail_queued", job_id=job_id, error=error)
        return self._change_state(self.jobs[job_id], JobState.FAILED, error=error)

    async def requeue_job(
        self, job_id, attempt, *, crashed, interrupted, delay_s, exclusive, used_s=0.0, faultless=False
    ) -> Job | None:
        values = {
            "crashed": crashed,
            "interrupted": interrupted,
            "faultless": faultless,
            "delay_s": delay_s,
            "exclusive": exclusive,
            "used_s": used_s,
        }
        self._begin("requeue_job", job_id=job_id, **values)
        job = self._claimed(job_id, attempt)
        await self._end("requeue_job")
        if job is None:
            return None
        if job.cancel_requested:
            return self._change_state(job, JobState.CANCELLED)
        self.exclusive = self.exclusive | {job_id} if exclusive else self.exclusive - {job_id}
        counter = "crashes" if crashed else "interruptions" if interrupted else "failures"
        if faultless:
            return self._change_state(job, JobState.QUEUED)
        return self._change_state(job, JobState.QUEUED, **{counter: getattr(job, counter) + 1})

    async def requeue_interrupted(self, *, max_interruptions) -> int:
        self._begin("requeue_interrupted")
        orphans = [job for job in self.jobs.values() if job.state is JobState.RUNNING]
        for job in orphans:
            self._change_state(job, JobState.QUEUED, interruptions=job.interruptions + 1)
        return len(orphans)

    async def requeue_expired(self, *, max_interruptions) -> int:
        self._begin("requeue_expired")
        return 0

    async def request_cancel(self, job_id, owner) -> Job:
        job = await self.get_job(job_id, owner)
        self._begin("request_cancel", job_id=job_id)
        match job.state:
            case JobState.QUEUED:
                job = self._change_state(job, JobState.CANCELLED, cancel_requested=True)
            case JobState.RUNNING:
                job = self.jobs[job_id] = replace(job, cancel_requested=True, version=job.version + 1)
            case state if state is not JobState.CANCELLED:
                raise NotCancellable(job_id, state)
        return job

    async def get_job(self, job_id, owner) -> Job:
        self._begin("get_job", job_id=job_id)
        await self._end("get_job")
        job = self.jobs.get(job_id)
        if job is None or owner not in (None, job.owner):
            raise JobNotFound(job_id)
        return job

    async def has_earlier_result(self, job_id) -> bool:
        earlier = (job for job in self.jobs.values() if job.id != job_id and job.result is not None)
        return any(job.origin.space_id == self.jobs[job_id].origin.space_id for job in earlier)

    async def queue_view(self, job_id) -> QueueView | None:
        self._begin("queue_view", job_id=job_id)
        return self.view if self.jobs[job_id].state is JobState.QUEUED else None

    async def count_by_state(self) -> dict[JobState, int]:
        self._begin("count_by_state")
        states = [job.state for job in self.jobs.values()]
        return {state: states.count(state) for state in JobState}

    async def next_due_s(self) -> float | None:
        self._begin("next_due_s")
        return None


class FakeHistory:
    def __init__(self, store: FakeJobStore) -> None:
        self._store = store

    async def list_jobs(self, owner, *, state, q, only=None, before, after=None, limit) -> tuple[list[Job], str | None]:
        mine = [job for job in self._store.jobs.values() if job.owner == owner and state in (None, job.state)]
        return mine[:limit], None

    async def list_ids(self, owner, *, state, q, only=None, among=None, limit) -> list[str]:
        jobs, _ = await self.list_jobs(owner, state=state, q=q, before=None, limit=limit)
        return [job.id for job in jobs if among is None or job.id in among]

    async def get_listed(self, owner, job_ids, *, state, only=None) -> list[Job]:
        jobs, _ = await self.list_jobs(owner, state=state, q="", before=None, limit=None)
        known = {job.id: job for job in jobs}
        return [known[one] for one in job_ids if one in known]

    async def count_jobs(self, owner, *, state, q, only=None) -> int:
        return len((await self.list_jobs(owner, state=state, q=q, before=None, limit=None))[0])


class FakeMeasurementStore(Fake):
    def __init__(self) -> None:
        super().__init__()
        self.measured: list[Measurement] = []
        self.described: dict[str, Any] = {}

    async def record_measurement(self, measurement) -> None:
        self._begin("record_measurement", measured=measurement)
        self.measured.append(measurement)

    async def load_measurements(self) -> list[Measurement]:
        return self.measured

    async def record_capabilities(self, model, capabilities) -> None:
        self._begin("record_capabilities", model=model)
        self.described[model] = capabilities

    async def load_capabilities(self) -> dict[str, Any]:
        return self.described


class FakeMediaStore(Fake):
    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, Media] = {}
        self.images: dict[tuple[str, str], StoredImage] = {}
        self.sheets: dict[str, Media] = {}
        self.thumbnails: dict[tuple[str, int], Media] = {}
        self.spare = 2**40

    async def add_upload(self, owner, media, *, width, height, parameters, source=None) -> StoredImage:
        self._begin("add_upload", owner=owner, media=media, source=source)
        picture = StoredImage(
            id=media_id(media.data), media_type=media.media_type, width=width, height=height, size=len(media.data),
            parameters=parameters,
        )  # fmt: skip
        self.files[picture.id] = media
        self.images[owner, picture.id] = picture
        return picture

    async def list_parameters(self, owner, since) -> list[Mapping[str, Any]]:
        mine = [image.parameters for (person, _), image in self.images.items() if person == owner]
        return [one for one in reversed(mine) if one is not None]

    async def upload_usage(self, owner, since) -> UploadUsage:
        self._begin("upload_usage", owner=owner)
        used = sum(image.size for (person, _), image in self.images.items() if person == owner)
        return UploadUsage(used=used, spare=self.spare, oldest_at=since)

    async def write_file(self, media) -> str:
        self._begin("write_file", media=media)
        self.files[media_id(media.data)] = media
        await self._end("write_file")
        return media_id(media.data)

    async def get_image(self, media_id, owner) -> StoredImage:
        self._begin("get_image", media_id=media_id)
        if (owner, media_id) not in self.images:
            raise MediaNotFound(media_id)
        return self.images[owner, media_id]

    async def read_media(self, media_id, owner) -> Media:
        self._begin("read_media", media_id=media_id)
        if media_id not in self.files or (owner is not None and (owner, media_id) not in self.images):
            raise MediaNotFound(media_id)
        await self._end("read_media")
        return self.files[media_id]

    async def stream_media(self, media_id, owner) -> MediaStream:
        return stream_of(await self.read_media(media_id, owner))

    async def stream_thumbnail(self, media_id, owner, width) -> MediaStream | None:
        await self.get_image(media_id, owner)
        kept = self.thumbnails.get((media_id, width))
        return None if kept is None else stream_of(kept)

    async def save_thumbnail(self, media_id, width, thumbnail) -> None:
        self._begin("save_thumbnail", media_id=media_id, width=width)
        await self._end("save_thumbnail")
        self.thumbnails[media_id, width] = thumbnail

    async def share(self, media_id, person_id, *, source=None) -> StoredImage:
        self._begin("share", media_id=media_id, person_id=person_id, source=source)
        found = next((one for (_, known), one in self.images.items() if known == media_id), None)
        if found is None:
            raise MediaNotFound(media_id)
        self.images[person_id, media_id] = replace(found, parameters=None)
        return self.images[person_id, media_id]

    async def read_sheet(self, job_id) -> Media | None:
        return self.sheets.get(job_id)

    async def save_sheet(self, job_id, composed, sheet, *, width, height) -> None:
        self.sheets[job_id] = sheet

    async def sweep(self, *, unused_s, keep_days, max_gb) -> Any:
        raise NotImplementedError


def stream_of(media: Media) -> MediaStream:
    async def chunks():
        yield media.data

    return MediaStream(media_type=media.media_type, size=len(media.data), chunks=chunks())


class FakeImageProcessor:
    """Every upload becomes the given image."""

    def __init__(self, clean: SanitizedImage | None = None) -> None:
        self.clean = clean
        self.sanitized: list[bytes] = []
        self.owners: list[str] = []

    async def sanitize(self, data, *, owner) -> SanitizedImage:
        self.sanitized.append(data)
        self.owners.append(owner)
        assert self.clean is not None
        return self.clean

    async def fit_bytes(self, media, max_bytes) -> Media:
        return Media(media.data[:max_bytes], "image/webp")

    async def convert(self, media, image_format, quality=0) -> Media:
        return Media(media.data + f", quality {quality}".encode(), f"image/{image_format}")

    async def contact_sheet(self, pictures) -> Media:
        return Media(b"+".join(picture.data for picture in pictures), "image/png")

    async def make_thumbnail(self, media, max_width, *, owner) -> Media:
        return Media(media.data + f", {max_width} px".encode(), "image/webp")

    async def is_empty_mask(self, media) -> bool:
        return False

    async def run_tool(self, tool, images, values=None, *, parameters="", easel="", owner="") -> list[RenderedImage]:
        made = Media(b"+".join(image.data for image in images) + f", {tool}".encode(), "image/png")
        return [RenderedImage(media=made, width=8, height=8, parameters=parameters)]

    async def resize(self, media, width, height) -> RenderedImage:
        made = Media(media.data + b", larger", "image/png")
        return RenderedImage(media=made, width=width, height=height, parameters="larger")


class FakePool(Fake):
    """Devices that run scripts: events are yielded, errors raised, an `asyncio.Event` awaited.

    A script has a list for each run of its task; the last one also serves all later runs. A task without a script makes
    one step. Like the real pool, it counts a task once its iterator is advanced.
    """

    def __init__(self, *devices: str, slots: int = 1, models: Sequence[str] = ("fox-diffusion",)) -> None:
        super().__init__()
        self.devices = dict.fromkeys(devices or ("cpu",), slots)
        self.models = frozenset(models)
        self.scripts: defaultdict[str, list[list[Any]]]
        self.scripts = defaultdict(lambda: [[Progress(step=1, steps=2), make_done()]])
        self.running: dict[str, str] = {}
        self.is_draining = False
        self.watched: list[tuple[str, bool]] = []
        self.loaded: frozenset[str] = frozenset()
        self._stops: dict[str, asyncio.Future[Any]] = {}
        self._changed = asyncio.Event()

    def notify_change(self) -> None:
        self._changed.set()

    def set_models(self, models: Sequence[ModelSpec]) -> None:
        self.models = frozenset(model.name for model in models)

    def list_offers(self, reserved=None) -> list[Offer]:
        self._begin("list_offers")
        if self.is_draining:
            return []
        loads = {
            device: list(self.running.values()).count(device) + len((reserved or {}).get(device, ()))
            for device in self.devices
        }
        return [
            Offer(
                device=device,
                models=self.models,
                loaded=self.loaded,
                free_slots=slots - loads[device],
                is_idle=not loads[device],
            )
            for device, slots in self.devices.items()
            if slots > loads[device]
        ]

    async def run_task(self, task):
        self._begin("run_task", task=task, beside=len(self.running))
        if self.is_draining:
            raise Interrupted
        room = self.list_offers()
        assert room, "more tasks than the pool offered to take"
        self.running[task.id] = room[0].device
        self._stops[task.id] = asyncio.get_running_loop().create_future()
        try:
            script = self.scripts[task.id]
            for item in script.pop(0) if len(script) > 1 else script[0]:
                await self._play_item(task.id, item)
                if not isinstance(item, asyncio.Event):
                    yield item
        finally:
            del self.running[task.id], self._stops[task.id]
            self.notify_change()

    async def _play_item(self, task_id: str, item: Any) -> None:
        """Wait for one item of the script; raises the cancellation or the script's error."""
        stop = self._stops[task_id]
        waits: asyncio.Future[Any]
        waits = asyncio.ensure_future(item.wait() if isinstance(item, asyncio.Event) else asyncio.sleep(0))
        await asyncio.wait({stop, waits}, return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()
        if stop.done():
            raise stop.result()
        if isinstance(item, BaseException):
            raise item

    def _stop(self, task_id: str, error: BaseException) -> None:
        stop = self._stops.get(task_id)
        if stop is not None and not stop.done():
            stop.set_result(error)

    def cancel_task(self, task_id) -> None:
        self._begin("cancel_task", task_id=task_id)
        self._stop(task_id, JobCancelled())

    def keep_rows(self, task_id, step, kept):
        self._begin("keep_rows", task_id=task_id, step=step, kept=kept)

    def set_previews(self, task_id, wanted) -> None:
        self.watched.append((task_id, wanted))

    async def wait_for_change(self) -> None:
        await self._changed.wait()
        self._changed.clear()

    def device_statuses(self) -> list[DeviceStatus]:
        return [DeviceStatus(device=device, state="ready", loaded=tuple(self.loaded)) for device in self.devices]

    async def unload_idle_models(self) -> UnloadResult:
        self._begin("unload_idle_models")
        return UnloadResult(models=tuple(self.loaded), busy=(), freed_mb=100)

    async def drain(self, deadline_s) -> None:
        self._begin("drain", deadline_s=deadline_s)
        self.is_draining = True
        deadline = asyncio.get_running_loop().time() + deadline_s
        while self.running and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - a fake may poll
            await asyncio.sleep(0.002)
        for task_id in list(self.running):
            self._stop(task_id, Interrupted())


class FakeOutbox(Fake):
    """Pending rows in memory; `now` is the loop's clock."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: dict[int, Delivery] = {}
        self.due_at: dict[int, float] = {}
        self.refs: dict[str, str] = {}
        self.delivered: list[str] = []
        self.undeliverable: list[str] = []
        self.messages: dict[tuple[str, str], str] = {}
        self.pictures: dict[tuple[str, str], int] = {}
        self.jobs: dict[str, Job] = {}
        self.open: list[Delivery] = []
        self._ids = itertools.count(1)

    def enqueue(self, job: Job, kind: str, *, tries: int = 0, **more: Any) -> Delivery:
        delivery = Delivery(id=next(self._ids), job=job, kind=kind, tries=tries, message_ref=None, **more)
        self.pending[delivery.id] = delivery
        self.due_at[delivery.id] = 0.0
        return delivery

    def _deliverable(self, excluded_webhooks: Collection[str]) -> list[Delivery]:
        waiting = {one.job.id for one in self.pending.values() if one.kind == "placeholder"}
        rows = [one for one in self.pending.values() if one.kind == "placeholder" or one.job.id not in waiting]
        return [one for one in rows if one.kind != "webhook" or one.target not in excluded_webhooks]

    async def due_deliveries(self, limit=50, *, excluded_jobs=(), excluded_webhooks=()) -> list[Delivery]:
        self._begin("due_deliveries", limit=limit, besides=excluded_jobs)
        await self._end("due_deliveries")
        now = asyncio.get_running_loop().time()
        due = [one for one in self._deliverable(excluded_webhooks) if self.due_at[one.id] <= now]
        due = [one for one in due if one.job.id not in excluded_jobs]
        due.sort(key=lambda one: self.due_at[one.id])
        return [replace(one, message_ref=self.refs.get(one.job.id)) for one in due[:limit]]

    async def mark_sent(self, delivery, message_ref) -> None:
        self._begin("mark_sent", delivery=delivery, message_ref=message_ref)
        await self._end("mark_sent")
        if self.pending.pop(delivery.id, None) and delivery.kind == "result":
            self.delivered.append(delivery.job.id)
        self.refs.setdefault(delivery.job.id, message_ref)

    async def schedule_retry(self, delivery, *, delay_s, reason, is_try=True) -> None:
        self._begin("schedule_retry", delivery=delivery, delay_s=delay_s, reason=reason)
        self.pending[delivery.id] = replace(self.pending[delivery.id], tries=delivery.tries + is_try)
        self.due_at[delivery.id] = asyncio.get_running_loop().time() + delay_s

    async def retry_space(self, platform, space_id) -> int:
        origins = {number: one.job.origin for number, one in self.pending.items()}
        due = [n for n, one in origins.items() if (one.platform, one.space_id) == (platform, space_id)]
        self.due_at |= dict.fromkeys(due, 0.0)
        return len(due)

    async def give_up(self, delivery, reason) -> None:
        self._begin("give_up", delivery=delivery, reason=reason)
        if self.pending.pop(delivery.id, None) is None:
            return
        self.undeliverable.append(delivery.job.id)

    async def give_up_events(self, delivery, *, before, reason) -> None:
        self._begin("give_up_events", delivery=delivery, before=before, reason=reason)

    async def next_due_s(self, *, excluded_webhooks=()) -> float | None:
        self._begin("next_due_s")
        times = [self.due_at[one.id] for one in self._deliverable(excluded_webhooks)]
        return max(0.0, min(times) - asyncio.get_running_loop().time()) if times else None

    async def settle_retraction(self, delivery, settled) -> None:
        self._begin("settle_retraction", delivery=delivery, settled=settled)
        waiting = self.pending[delivery.id]
        left = tuple(ref for ref in waiting.refs if ref not in settled)
        if left:
            self.pending[delivery.id] = replace(waiting, refs=left)
        else:
            del self.pending[delivery.id]

    async def deliver_again(self, job_id) -> None:
        self._begin("deliver_again", job_id=job_id)

    async def is_pending(self, delivery) -> bool:
        self._begin("is_pending", delivery=delivery)
        return delivery.id in self.pending

    async def remember_message(self, job_id, platform, message_ref, *, picture=0) -> None:
        self.messages[platform, message_ref] = job_id
        self.pictures[platform, message_ref] = picture

    async def find_picture(self, platform, message_ref) -> int:
        return self.pictures.get((platform, message_ref), 0)

    async def find_job(self, platform, message_ref) -> Job | None:
        return self.jobs.get(self.messages.get((platform, message_ref), ""))

    async def message_refs(self, job_id, platform, *, picture=0) -> list[str]:
        return [ref for (where, ref), job in self.messages.items() if (where, job) == (platform, job_id)]

    async def watched(self) -> list[Delivery]:
        self._begin("watched")
        return self.open


class FakePeople(Fake):
    """Only default options."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: defaultdict[str, dict[str, Any]] = defaultdict(dict)

    async def get_settings(self, person_id) -> dict[str, Any]:
        self._begin("get_settings", person_id=person_id)
        return self.stored[person_id]

    async def set_setting(self, person_id, name, value) -> None:
        self.stored[person_id][name] = value

    async def clear_setting(self, person_id, name) -> None:
        self.stored[person_id].pop(name, None)


class FakePrivacy(Fake):
    """Erased jobs are removed from the store."""

    def __init__(self, store: FakeJobStore) -> None:
        super().__init__()
        self._store = store

    async def erase_job(self, job_id, owner, *, retracts=False, besides="") -> Job:
        job = await self._store.get_job(job_id, owner)
        self._begin("erase_job", job_id=job_id)
        return self._store.jobs.pop(job.id)

    async def erase_jobs(self, job_ids, owner, *, retracts=False, besides="") -> list[Job]:
        return [await self.erase_job(one, owner, retracts=retracts, besides=besides) for one in job_ids]

    async def erase_picture(self, job_id, owner, number, *, retracts=False, besides="") -> Job:
        self._begin("erase_picture", job_id=job_id, number=number)
        return await self._store.get_job(job_id, owner)

    async def export_person(self, person_id, *, max_bytes=None) -> Path:
        self._begin("export_person", person_id=person_id, max_bytes=max_bytes)
        return Path("everything.zip")

    async def delete_old_exports(self) -> None:
        self._begin("delete_old_exports")

    async def delete_exports_of(self, person_id) -> None:
        self._begin("delete_exports_of", person=person_id)

    async def forget_person(self, person_id, *, with_linked=True) -> list[Job]:
        mine = [job for job in self._store.jobs.values() if job.owner == person_id]
        for job in mine:
            del self._store.jobs[job.id]
        return [job for job in mine if job.state is JobState.RUNNING]


class FakePlatform(Fake):
    """A chat that recognizes nonces, like Discord. `messages` has the successive contents of each message, by ref."""

    def __init__(self, name: str = "chat") -> None:
        super().__init__()
        self.name = name
        self.messages: dict[str, list[Any]] = {}
        self._nonces: dict[str, str] = {}
        self._ids = itertools.count(1)

    def _post(self, delivery: Delivery, content: Any) -> str:
        ref = self._nonces.get(delivery.nonce)
        if ref is None:
            ref = self._nonces[delivery.nonce] = f"m{next(self._ids)}"
            self.messages[ref] = [content]
        return ref

    def results(self) -> list[Any]:
        """Every visible result, including repeats."""
        return [content for contents in self.messages.values() for content in contents if isinstance(content, tuple)]

    async def post_placeholder(self, delivery) -> str:
        self._begin("post_placeholder", delivery=delivery)
        ref = self._post(delivery, "queued")
        await self._end("post_placeholder")
        return ref

    async def show_progress(self, job, message_ref, progress) -> bool:
        self._begin("show_progress", job=job, message_ref=message_ref, progress=progress)
        await self._end("show_progress")
        self.messages[message_ref].append(progress.step)
        return True

    async def edit_result(self, delivery, pictures) -> str:
        self._begin("edit_result", delivery=delivery, pictures=pictures)
        await self._end("edit_result")
        self.messages[delivery.message_ref].append(tuple(picture.data for picture in pictures))
        return delivery.message_ref

    async def send_result(self, delivery, pictures) -> str:
        self._begin("send_result", delivery=delivery, pictures=pictures)
        ref = self._post(delivery, tuple(picture.data for picture in pictures))
        await self._end("send_result")
        return ref

    async def retract_message(self, delivery, message_ref) -> None:
        self._begin("retract_message", delivery=delivery, message_ref=message_ref)
        await self._end("retract_message")
        self.messages.pop(message_ref, None)

    async def notify_undeliverable(self, delivery) -> None:
        self._begin("notify_undeliverable", delivery=delivery)
        await self._end("notify_undeliverable")
        self.messages[delivery.message_ref].append("kept")
