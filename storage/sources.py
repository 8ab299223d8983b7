"""Where images and words first came from: it decides whether they may enter training."""

from collections.abc import Iterator

from sqlalchemy import Connection, exists, or_, select

from bot.prompts.resolver import original_prompt
from storage.mapping import JobRow
from storage.schema import job, job_media, media_owner

OWN_SOURCES = frozenset({"web", "cli"})
"""Platforms whose images only their owner has chosen: everything else came from a chat or another program."""
MAX_SOURCE = 32


def find_source(tx: Connection, row: JobRow) -> str | None:
    """Of what a job says and makes: where the job came from, or what it was made from if that did not come from its
    owner: its images, or the words and images of the jobs that it follows from. None: unknown, as one was erased."""
    source = _origin_source(row)
    while (found := _origin_source(row)) in OWN_SOURCES:
        images = _image_sources(tx, row)
        if foreign := [one for _, one in images if one not in OWN_SOURCES]:
            return foreign[0]
        parent = row._mapping[job.c.parent]
        has_inherited = any(role == "output" for role, _ in images)
        if parent is None or has_inherited:
            return source
        earlier = tx.execute(select(job).where(job.c.id == parent)).one_or_none()
        if earlier is None or earlier.erased:
            return None
        row = earlier
    return found


def repeats_chat_words(tx: Connection, row: JobRow, known: dict[str, frozenset[str]] | None = None) -> bool:
    """Whether an image that the job is about was drawn, here or earlier, from a prompt that its owner also used in a
    chat or another program: a recipe of such a job that was repeated on the page.

    `known`: the prompts of such jobs by owner, which calls for several jobs share.
    """
    prompts = {prompt for one in _trace_jobs(tx, row) for prompt in _prompts_of(one)}
    if not prompts:
        return False
    of_owner, owner = {} if known is None else known, row._mapping[job.c.owner]
    if owner not in of_owner:
        of_owner[owner] = _chat_prompts(tx, owner)
    return not prompts.isdisjoint(of_owner[owner])


def _chat_prompts(tx: Connection, owner: str) -> frozenset[str]:
    is_own = or_(*(job.c.space.startswith(f"{source}:") for source in sorted(OWN_SOURCES)))
    is_program = job.c.origin["extra"]["client"].as_string().is_not(None)
    of_owner = select(job.c.options).where(job.c.owner == owner, job.c.erased.is_(False))
    rows = tx.execute(of_owner.where(~is_own | is_program))
    return frozenset(prompt for one in rows for prompt in _prompts_of(one))


def has_image_of_others(tx: Connection, row: JobRow) -> bool:
    """Whether somebody, whoever it is, got an image that the job is about, or that this was made from, elsewhere."""
    jobs = [one._mapping[job.c.id] for one in _trace_jobs(tx, row)]
    is_given = job_media.c.role.not_in(["output", "sheet"])
    is_foreign = or_(media_owner.c.source.is_(None), media_owner.c.source.not_in(OWN_SOURCES))
    foreign = exists().where(job_media.c.job.in_(jobs), is_given, media_owner.c.media == job_media.c.media, is_foreign)
    return bool(tx.scalar(select(foreign)))


def _prompts_of(row: JobRow) -> set[str]:
    """As they were typed, and as they were drawn."""
    options = row._mapping[job.c.options]
    said = [original_prompt(options).get("prompt"), options.get("prompt"), *(options.get("prompts") or ())]
    return {" ".join(str(one or "").casefold().split()) for one in said} - {""}


def _trace_jobs(tx: Connection, row: JobRow) -> Iterator[JobRow]:
    """The job, and those of its owner that made its images, and the images of these."""
    made, used = job_media.alias("made"), job_media.alias("used")
    owner = row._mapping[job.c.owner]
    is_output = (made.c.job == job.c.id) & (made.c.role == "output") & (made.c.owner == owner)
    makers = select(job).join(made, is_output).join(used, used.c.media == made.c.media).where(used.c.role != "output")
    found = {row._mapping[job.c.id]: row}
    left = [row]
    while left:
        one = left.pop()
        yield one
        earlier = {maker.id: maker for maker in tx.execute(makers.where(used.c.job == one.id))}
        left += [maker for name, maker in earlier.items() if name not in found]
        found |= earlier


def _origin_source(row: JobRow) -> str:
    origin = row._mapping[job.c.origin]
    return str(origin.get("extra", {}).get("client") or origin["platform"])[:MAX_SOURCE]


def _image_sources(tx: Connection, row: JobRow) -> list[tuple[str, str | None]]:
    """Of all images of a job, with their role."""
    o, u = media_owner.c, job_media.c
    owned = (u.media == o.media) & (u.owner == o.owner)
    found = tx.execute(select(u.role, o.source).join(media_owner, owned).where(u.job == row._mapping[job.c.id]))
    return [(use.role, use.source) for use in found]
