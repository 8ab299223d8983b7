"""A zip of a person's images, with a JSON file beside each, written while it is sent."""

import io
import json
import re
import unicodedata
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

from bot.commands.preview import only_changes_images
from bot.errors import InvalidOption, JobNotFound, MediaNotFound, NotFound
from bot.jobs import Job, Origin, StoredImage
from bot.ports import History, JobStore, MediaStore, MediaStream, Person
from bot.queue.grid_message import GridMessage
from bot.safety.policy import Verdict
from bot.usecases.grid_chat import GridChat
from bot.usecases.moderation import Moderation

PAGE = 100
MAX_WORDS = 40
"""Characters of a prompt in a file's name."""
_NOT_IN_NAMES = re.compile(r"[\W_]+")
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"}
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's mark of generated images; the image files carry it too."""


@dataclass(frozen=True)
class ExportUseCases:
    store: JobStore
    history: History
    media: MediaStore
    moderation: Moderation
    grids: GridChat

    async def export_images(
        self, person: Person, origin: Origin, jobs: Sequence[str] | None, pictures: Sequence[tuple[str, int]]
    ) -> AsyncIterator[bytes]:
        """The zip in chunks: the images of these jobs and these single pictures (job, number from 1), or, without
        either, of all jobs. An id of a grid means all of its jobs. With all images of a grid, its sheets are in the
        zip as well. Images that may not be shown at `origin` or are gone have only their JSON file.

        Raises, before the first chunk: JobNotFound, NotFound: there is no such picture; InvalidOption.
        """
        if jobs is None and not pictures:
            return self._write_zip(person, origin, self._all_jobs(person))
        found = [await self._find_jobs(person, name) for name in dict.fromkeys(jobs or ())]
        chosen = {job.id: (job, _numbers(job)) for some in found for job in some}
        singles = {job_id: await self.store.get_job(job_id, person.id) for job_id, _ in pictures}
        for job_id, number in pictures:
            job = singles[job_id]
            if number not in _numbers(job):
                raise NotFound("picture", f"{job.id}/{number}")
            chosen.setdefault(job.id, (job, set()))[1].add(number)
        if not chosen:
            raise InvalidOption("jobs", "body", allowed="name at least one job, or send null for all")
        return self._write_zip(person, origin, _each(list(chosen.values())))

    async def _find_jobs(self, person: Person, name: str) -> list[Job]:
        """A job by its id or its beginning, or all jobs of a grid by its whole id. Raises: JobNotFound."""
        try:
            return [await self.store.get_job(name, person.id)]
        except JobNotFound:
            with suppress(NotFound):
                grid = await self.grids.get(name)
                if grid.owner == person.id:
                    return [cell.job for cell in grid.cells]
            raise

    async def _all_jobs(self, person: Person) -> AsyncIterator[tuple[Job, set[int]]]:
        before: str | None = None
        while True:
            page, before = await self.history.list_jobs(person.id, state=None, q="", before=before, limit=PAGE)
            for job in page:
                yield job, _numbers(job)
            if before is None:
                return

    async def _write_zip(
        self, person: Person, origin: Origin, jobs: AsyncIterator[tuple[Job, set[int]]]
    ) -> AsyncIterator[bytes]:
        buffer, exported = _ChunkBuffer(), _ExportedCells()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            async for job, numbers in jobs:
                exported.add(job, numbers)
                for number in sorted(numbers):
                    async with aclosing(self._add_image(archive, person, origin, job, number)) as parts:
                        async for _ in parts:
                            yield buffer.take()
            for lead in exported.leads.values():
                grid = await self.grids.find(lead)
                if grid is None or grid.result is None or not exported.has_all_of(grid):
                    continue
                for sheet in grid.result.media:
                    async with aclosing(self._add_image(archive, person, origin, grid, sheet.number)) as parts:
                        async for _ in parts:
                            yield buffer.take()
        yield buffer.take()

    async def _add_image(
        self, archive: zipfile.ZipFile, person: Person, origin: Origin, job: Job, number: int
    ) -> AsyncGenerator[None, None]:
        """`job`: also a grid, whose pictures are its sheets."""
        assert job.result is not None
        image = job.result.find_picture(number)
        assert image is not None
        stream = await self._open_image(person, origin, job, image)
        name = file_name(job, number)
        file = f"{name}.{SUFFIXES.get(image.media_type, 'bin')}"
        if isinstance(stream, MediaStream):
            with archive.open(_zip_info(file, job), "w") as target:
                async with aclosing(cast("Any", stream.chunks)) as chunks:
                    async for chunk in chunks:
                        target.write(chunk)
                        yield
        details = describe_image(job, image)
        details["file"] = file if isinstance(stream, MediaStream) else None
        if not isinstance(stream, MediaStream):
            details["left_out"] = stream
        archive.writestr(_zip_info(f"{name}.json", job), json.dumps(details, indent=1, ensure_ascii=False, default=str))
        yield

    async def _open_image(self, person: Person, origin: Origin, job: Job, image: StoredImage) -> MediaStream | str:
        """The stored bytes, or why they are left out."""
        assert job.result is not None
        alone = replace(job, result=replace(job.result, media=(image,)))
        if await self.moderation.judge_again(origin, alone) is Verdict.BLOCK:
            return "blocked"
        try:
            return await self.media.stream_media(image.id, person.id)
        except MediaNotFound:
            return "deleted"


def file_name(job: Job, number: int) -> str:
    """Unique by the job's id, and readable by its first words; without an ending."""
    words = str(job.options.get("prompt") or job.options.get("question") or job.command)
    words = _NOT_IN_NAMES.sub("-", unicodedata.normalize("NFKC", words[:MAX_WORDS])).casefold()
    name = f"grid-{job.grid}" if isinstance(job, GridMessage) else job.id
    return f"easel-{name}-{number}-{words[:MAX_WORDS].strip('-')}".rstrip("-")


def describe_image(job: Job, image: StoredImage) -> dict[str, Any]:
    """How an image was made, as JSON."""
    if isinstance(job, GridMessage):
        return _describe_sheet(job, image)
    result = job.result
    assert result is not None
    is_generated = bool(result.parameters) or not only_changes_images(job.command, job.options)
    return {
        "job": job.id,
        "n": image.number,
        "command": job.command,
        "options": dict(job.options),
        "model": result.model,
        "revision": result.revision,
        "seed": result.seed_of(image.number),
        **({} if image.score is None else {"score": image.score}),
        "parameters": result.parameters,
        "notes": list(result.notes),
        "width": image.width,
        "height": image.height,
        "alt": image.alt,
        "spoiler": job.is_spoiler or image.is_spoiler,
        "parent": job.parent,
        "created_at": job.created_at.isoformat(),
        **({"digital_source_type": SOURCE_TYPE} if is_generated else {}),
    }


def _describe_sheet(grid: GridMessage, sheet: StoredImage) -> dict[str, Any]:
    cells = [{"name": cell.name, "title": cell.title, "job": cell.job.id} for cell in grid.cells]
    return {
        "grid": grid.grid,
        "n": sheet.number,
        "axes": list(grid.axes),
        "cells": cells,
        "width": sheet.width,
        "height": sheet.height,
        "alt": sheet.alt,
        "spoiler": sheet.is_spoiler,
        "created_at": grid.created_at.isoformat(),
        "digital_source_type": SOURCE_TYPE,
    }


@dataclass
class _ExportedCells:
    """Of jobs of batches, those whose images are all in the zip. `leads`: one job of each batch."""

    leads: dict[str, Job] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)

    def add(self, job: Job, numbers: set[int]) -> None:
        if job.batch is not None and numbers == _numbers(job):
            self.leads.setdefault(job.batch, job)
            self.whole.add(job.id)

    def has_all_of(self, grid: GridMessage) -> bool:
        return all(cell.job.id in self.whole for cell in grid.cells if cell.is_made)


def _numbers(job: Job) -> set[int]:
    """Of its images that are not deleted."""
    return {image.number for image in job.result.media} if job.result else set()


async def _each(jobs: Sequence[tuple[Job, set[int]]]) -> AsyncIterator[tuple[Job, set[int]]]:
    for job in jobs:
        yield job


def _zip_info(name: str, job: Job) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, job.created_at.timetuple()[:6])


class _ChunkBuffer(io.RawIOBase):
    """What a zip wrote since the last `take`; it cannot seek, so it needs no earlier bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data
