"""Factories for values; each accepts overrides."""

from typing import Any

from bot.jobs import Job, Media, Origin, Result, StoredImage, new_job_id
from bot.ports import AcceptResult, Limits, NewJob, Offer, Person

PLENTY = Limits(outstanding=1_000_000)


def make_origin(**overrides: Any) -> Origin:
    return Origin(**{"platform": "discord", "space_id": "guild", "account_id": "1", **overrides})


def make_new_job(person: Person, *, space: str = "guild", **overrides: Any) -> NewJob:
    plain = {
        "id": new_job_id(),
        "owner": person.id,
        "origin": make_origin(space_id=space),
        "command": "imagine",
        "options": {"prompt": "a fox"},
        "images": (),
        "task": "text-to-image",
        "model": "fox",
        "cost": 2.0,
        "estimate_s": 2.0,
        "search_text": "a fox",
    }
    return NewJob(**{**plain, **overrides})


def make_offer(**overrides: Any) -> Offer:
    return Offer(**{"device": "cpu", "models": frozenset({"fox"}), "loaded": frozenset({"fox"}), **overrides})


def make_media(data: bytes = b"a fox", media_type: str = "image/png") -> Media:
    return Media(data, media_type)


def make_picture(media_id: str, **overrides: Any) -> StoredImage:
    return StoredImage(**{"id": media_id, "media_type": "image/png", "width": 8, "height": 8, "size": 5, **overrides})


def make_result(**overrides: Any) -> Result:
    return Result(**{"text": "a rocket", "seed": 7, "model": "fox", "seconds": 2.0, **overrides})


async def accept(storage, person: Person, count: int = 1, **overrides: Any) -> list[Job]:
    limits = overrides.pop("limits", PLENTY)
    key = overrides.pop("key", None)
    new = [make_new_job(person, **overrides) for _ in range(count)]
    accepted: AcceptResult = await storage.jobs.accept_jobs(new, key=key, limits=limits)
    return list(accepted.jobs)


async def claim(storage, **overrides: Any) -> Any:
    """A job; None: nothing can run."""
    rules = {"max_running": 2, "lease_s": 60.0, "swap_wait_s": 0.0, "only": None}
    rules.update({name: overrides.pop(name) for name in list(overrides) if name in rules})
    return await storage.jobs.claim_job(make_offer(**overrides), **rules)


async def requeue(storage, job: Job, **overrides: Any) -> Any:
    plain = {"crashed": False, "interrupted": False, "delay_s": 0.0, "exclusive": False}
    return await storage.jobs.requeue_job(job.id, job.attempt, **{**plain, **overrides})


async def render(storage, job: Job, **overrides: Any) -> Any:
    return await storage.jobs.save_result(job.id, job.attempt, make_result(**overrides))
