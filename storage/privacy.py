"""Export and erasure of personal data: `bot.ports.Privacy` on the database and the files."""

import asyncio
import errno
import json
import secrets
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, select

from bot.errors import NotFound, StorageFull
from bot.jobs import SECRET_EXTRA, Job, JobState
from bot.runtime.private_files import make_private_folder
from storage import erasure, people, pictures
from storage.database import Database
from storage.files import MediaFiles
from storage.jobs import find_job
from storage.learning_tables import consent, correction
from storage.link_tables import carried_usage, link_code, link_event
from storage.mapping import JobRow, to_job
from storage.moderation_tables import refusal
from storage.picture_tables import batch, batch_sheet, collection, collection_item, favourite, report, session
from storage.retractions import retract_messages
from storage.schema import (
    account,
    api_key,
    job,
    job_media,
    ledger,
    media,
    media_owner,
    message,
    outbox,
    person,
    person_setting,
    quota_day,
    utcnow,
)

CHUNK = 20
ERASE_S = 0.015
"""Jobs erased per transaction, and the time after which it ends earlier, which limits the wait of other writers."""
CHUNK_ROWS = 200
"""Uploads disowned, or jobs moved, per transaction."""
EXPORT_KEEP_S = 86_400.0


class SqlPrivacy:
    """`opened_at`: when this process began to work on the files, epoch seconds."""

    def __init__(self, database: Database, files: MediaFiles, exports: Path, *, opened_at: float) -> None:
        self._database = database
        self._files = files
        self._exports = exports
        self._opened_at = opened_at

    async def export_person(self, person_id: str, *, max_bytes: int | None = None) -> Path:
        rows, pictures = await self._database.run_read(lambda tx: _collect_rows(tx, person_id))
        name = f"{person_id}-{secrets.token_hex(16)}.zip"
        path = await asyncio.to_thread(self._write_zip, self._exports / name, rows, pictures, max_bytes)
        try:
            await self._database.run_read(lambda tx: people.refuse_forgotten(tx, person_id))
        except NotFound:
            path.unlink(missing_ok=True)
            raise
        return path

    def _write_zip(
        self, path: Path, rows: dict[str, Any], pictures: list[tuple[str, str]], max_bytes: int | None
    ) -> Path:
        make_private_folder(self._exports)
        try:
            path.touch(mode=0o600)
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                left_out = self._add_images(archive, pictures, rows, max_bytes)
                archive.writestr("everything.json", _to_json({**rows, "pictures_left_out": left_out}))
        except OSError as error:
            path.unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull() from error
            raise
        return path

    def _add_images(
        self, archive: zipfile.ZipFile, pictures: list[tuple[str, str]], rows: dict[str, Any], max_bytes: int | None
    ) -> list[str]:
        """Returns the ids of images that did not fit."""
        left_out: list[str] = []
        json_size = len(_to_json(rows)) + 200 * (len(pictures) + 1) if max_bytes is not None else 0
        remaining = None if max_bytes is None else max_bytes - json_size
        for media_id, media_type in pictures:
            path = self._files.path(media_id, media_type)
            with suppress(FileNotFoundError):
                size = path.stat().st_size
                if remaining is not None and size > remaining:
                    left_out.append(media_id)
                    continue
                archive.write(path, f"pictures/{path.name}", zipfile.ZIP_STORED)
                remaining = None if remaining is None else remaining - size
        return left_out

    async def erase_job(self, job_id: str, owner: str, *, retracts: bool = False, besides: str = "") -> Job:
        return (await self.erase_jobs([job_id], owner, retracts=retracts, besides=besides))[0]

    async def erase_jobs(
        self, job_ids: Sequence[str], owner: str, *, retracts: bool = False, besides: str = ""
    ) -> list[Job]:
        started = time.time()
        dialect = self._database.dialect

        def erase(tx: Connection) -> erasure.ErasedJobs:
            rows = [_find_job(tx, job_id, owner) for job_id in job_ids]
            return erasure.erase_jobs(tx, dialect, rows, retracts=retracts, besides=besides)

        erased = await self._database.run_deletion(erase)
        await self._remove_files(erased.files, started)
        return list(erased.jobs)

    async def erase_picture(
        self, job_id: str, owner: str, number: int, *, retracts: bool = False, besides: str = ""
    ) -> Job:
        started = time.time()
        before, files = await self._database.run_deletion(
            lambda tx: self._erase_picture(tx, job_id, owner, number, retracts=retracts, besides=besides)
        )
        await self._remove_files(files, started)
        return before

    def _erase_picture(
        self, tx: Connection, job_id: str, owner: str, number: int, *, retracts: bool, besides: str
    ) -> tuple[Job, Sequence[tuple[str, str]]]:
        """The job's words go with its last picture."""
        erased = _find_job(tx, job_id, owner)
        if erased.erased:
            return to_job(erased), ()
        row, result = pictures.find_place(tx, job_id, owner, number)
        if result.find_picture(number) is None:
            return to_job(row), ()
        if pictures.is_last_picture(result, number):
            erased_jobs = erasure.erase_jobs(tx, self._database.dialect, [row], retracts=retracts, besides=besides)
            return to_job(row), erased_jobs.files
        if retracts:
            retract_messages(tx, row, number, besides=besides)
        return to_job(row), pictures.erase_picture(tx, row, result, number)

    async def forget_person(self, person_id: str, *, with_linked: bool = True) -> list[Job]:
        started = time.time()
        await self.delete_exports_of(person_id)  # first: nothing in the database would resume it
        await self._database.run_deletion(lambda tx: erasure.begin_forgetting(tx, person_id, with_linked=with_linked))
        for space_id in await self._database.run_read(lambda tx: erasure.private_spaces(tx, person_id)):
            await self._rename_space(person_id, space_id)
        running: list[Job] = []
        while True:
            erased = await self._database.run_deletion(lambda tx: self._erase_some(tx, person_id))
            await self._remove_files(erased.files, started)
            running += [one for one in erased.jobs if one.state is JobState.RUNNING]
            if not erased.jobs:
                break
        await self._disown_uploads(person_id, started)
        await self.delete_exports_of(person_id)
        return running

    async def _disown_uploads(self, person_id: str, started: float) -> None:
        count = CHUNK_ROWS
        while count == CHUNK_ROWS:
            disown = partial(erasure.disown_uploads, person_id=person_id, limit=CHUNK_ROWS)
            count, files = await self._database.run_deletion(disown)
            await self._remove_files(files, started)

    async def _rename_space(self, person_id: str, old_id: str) -> None:
        run = self._database.run_deletion
        new_id = await run(lambda tx: erasure.add_anonymous_space(tx, old_id))
        while await run(lambda tx: erasure.move_ended_jobs(tx, person_id, old_id, new_id, CHUNK_ROWS)):
            pass
        await run(lambda tx: erasure.replace_space(tx, person_id, old_id, new_id))

    async def finish_forgetting(self) -> None:
        """Forget the rest of persons whose forgetting the end of the process interrupted."""
        for person_id in await self._database.run_read(erasure.unfinished_persons):
            await self.forget_person(person_id)

    def _erase_some(self, tx: Connection, person_id: str) -> erasure.ErasedJobs:
        """Erase jobs of the person until `ERASE_S` have passed; none: all are erased."""
        deadline = time.monotonic() + ERASE_S
        erased = erasure.ErasedJobs((), ())
        for row in erasure.unerased_jobs(tx, person_id, CHUNK):
            one = erasure.erase_jobs(tx, self._database.dialect, [row])
            erased = erasure.ErasedJobs(erased.jobs + one.jobs, erased.files + one.files)
            if time.monotonic() > deadline:
                break
        return erased

    async def _remove_files(self, files: Any, started: float) -> None:
        """Keeps files that were written again since. After a crash, files without rows are left to the first sweep."""
        paths = [self._files.path(media_id, media_type) for media_id, media_type in files]
        await asyncio.to_thread(lambda: [self._files.remove_file(path, started) for path in paths])

    async def delete_exports_of(self, person_id: str) -> None:
        await asyncio.to_thread(self._delete_exports, f"{person_id}-*.zip", older_than=float("inf"))

    async def delete_old_exports(self) -> None:
        older_than = max(time.time() - EXPORT_KEEP_S, self._opened_at)  # an ended process sends none of its exports
        await asyncio.to_thread(self._delete_exports, "*.zip", older_than=older_than)

    def _delete_exports(self, pattern: str, *, older_than: float) -> None:
        for path in self._exports.glob(pattern):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < older_than:
                    path.unlink()


def _find_job(tx: Connection, job_id: str, owner: str) -> JobRow:
    """Also finds an erased job: the caller may repeat a request whose answer was lost. Raises: JobNotFound."""
    erased = select(job).where(job.c.id == job_id, job.c.owner == owner, job.c.erased.is_(True))
    return tx.execute(erased).one_or_none() or find_job(tx, job_id, owner)


def _collect_rows(tx: Connection, person_id: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """All rows of the person, by table, and their images, newest first."""
    jobs = _read_rows(tx, job, job.c.owner == person_id, "space", "lease_until", "place", "erased")
    for one in jobs:
        one["origin"] = _without_secrets(one["origin"])
    ids = select(job.c.id).where(job.c.owner == person_id)
    keys = select(api_key.c.prefix).where(api_key.c.person == person_id)
    collections = select(collection.c.id).where(collection.c.person == person_id)
    batches = select(batch.c.id).where(batch.c.owner == person_id)
    rows = {
        "exported_at": utcnow(),
        "person": _read_rows(tx, person, person.c.id == person_id),
        "accounts": _read_rows(tx, account, account.c.person == person_id),
        "settings": _read_rows(tx, person_setting, person_setting.c.person == person_id),
        "keys": _read_rows(tx, api_key, api_key.c.person == person_id, "secret_hash"),
        "jobs": jobs,
        "messages": _read_rows(tx, message, message.c.job.in_(ids)),
        "pictures": _read_rows(tx, media_owner, media_owner.c.owner == person_id),
        "ledger": _read_rows(tx, ledger, ledger.c.person == person_id),
        "quota": _read_rows(tx, quota_day, quota_day.c.person == person_id),
        "images_of_jobs": _read_rows(tx, job_media, job_media.c.owner == person_id),
        "outgoing": _read_rows(tx, outbox, outbox.c.job.in_(ids), "id", "message_ref", "refs"),
        "batches": _read_rows(tx, batch, batch.c.owner == person_id),
        "batch_sheets": _read_rows(tx, batch_sheet, batch_sheet.c.batch.in_(batches)),
        "sessions": _read_rows(tx, session, session.c.key.in_(keys), "token_hash"),
        "favourites": _read_rows(tx, favourite, favourite.c.person == person_id),
        "collections": _read_rows(tx, collection, collection.c.person == person_id),
        "collection_pictures": _read_rows(tx, collection_item, collection_item.c.collection.in_(collections)),
        "link_codes": _read_rows(tx, link_code, link_code.c.person == person_id, "code_hash"),
        "links": _read_rows(tx, link_event, link_event.c.person == person_id),
        "carried_usage": _read_rows(tx, carried_usage, carried_usage.c.person == person_id),
        "reports": _read_rows(tx, report, report.c.person == person_id),
        "corrections": _read_rows(tx, correction, correction.c.person == person_id),
        "consents": _read_rows(tx, consent, consent.c.person == person_id),
        "refusals": _read_rows(tx, refusal, refusal.c.person == person_id),
    }
    owned = select(media.c.id, media.c.media_type).join(media_owner).where(media_owner.c.owner == person_id)
    pictures = tx.execute(owned.order_by(media_owner.c.kept_since.desc(), media.c.id))
    return rows, [(row.id, row.media_type) for row in pictures]


def _without_secrets(origin: dict[str, Any]) -> dict[str, Any]:
    extra = {name: value for name, value in origin.get("extra", {}).items() if name not in SECRET_EXTRA}
    return {**origin, "extra": extra}


def _read_rows(tx: Connection, table: Table, condition: Any, *without: str) -> list[dict[str, Any]]:
    columns = [column for column in table.c if column.name not in without]
    return [dict(row._mapping) for row in tx.execute(select(*columns).where(condition))]


def _to_json(rows: dict[str, Any]) -> str:
    return json.dumps(rows, indent=1, ensure_ascii=False, default=str)
