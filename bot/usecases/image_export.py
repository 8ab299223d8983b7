"""A zip of a person's images, with a JSON file beside each, written while it is sent."""

import io
import json
import re
import unicodedata
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast

from bot.commands.preview import only_changes_images
from bot.errors import InvalidOption, MediaNotFound, NotFound
from bot.jobs import Job, Origin, StoredImage
from bot.ports import History, JobStore, MediaStore, MediaStream, Person
from bot.safety.policy import Verdict
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

    async def export_images(
        self, person: Person, origin: Origin, jobs: Sequence[str] | None, pictures: Sequence[tuple[str, int]]
    ) -> AsyncIterator[bytes]:
        """The zip in chunks: the images of these jobs and these single pictures (job, number from 1), or, without
        either, of all jobs. Images that may not be shown at `origin` or are gone have only their JSON file.

        Raises, before the first chunk: JobNotFound, NotFound: there is no such picture; InvalidOption.
        """
        if jobs is None and not pictures:
            return self._write_zip(person, origin, self._all_jobs(person))
        named = dict.fromkeys([*(jobs or ()), *(job_id for job_id, _ in pictures)])
        own = {job_id: await self.store.get_job(job_id, person.id) for job_id in named}
        chosen = {job.id: (job, _numbers(job)) for job in map(own.__getitem__, jobs or ())}
        for job_id, number in pictures:
            job = own[job_id]
            if number not in _numbers(job):
                raise NotFound("picture", f"{job.id}/{number}")
            chosen.setdefault(job.id, (job, set()))[1].add(number)
        if not chosen:
            raise InvalidOption("jobs", "body", allowed="name at least one job, or send null for all")
        return self._write_zip(person, origin, _each(list(chosen.values())))

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
        buffer = _ChunkBuffer()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            async for job, numbers in jobs:
                for number in sorted(numbers):
                    async with aclosing(self._add_image(archive, person, origin, job, number)) as parts:
                        async for _ in parts:
                            yield buffer.take()
        yield buffer.take()

    async def _add_image(
        self, archive: zipfile.ZipFile, person: Person, origin: Origin, job: Job, number: int
    ) -> AsyncGenerator[None, None]:
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
    return f"easel-{job.id}-{number}-{words[:MAX_WORDS].strip('-')}".rstrip("-")


def describe_image(job: Job, image: StoredImage) -> dict[str, Any]:
    """How an image was made, as JSON."""
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
