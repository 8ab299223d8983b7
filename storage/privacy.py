"""A person's own data: a copy of it, and taking it away. `bot.ports.Privacy` on the database and the files."""

import asyncio
import errno
import json
import secrets
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, select

from bot.errors import StorageFull
from bot.jobs import SECRET_EXTRA, Job, JobState
from storage import erasure
from storage.database import Database
from storage.files import Files
from storage.jobs import find
from storage.mapping import JobRow
from storage.schema import (
    account,
    api_key,
    job,
    ledger,
    media,
    media_owner,
    message,
    person,
    person_setting,
    quota_day,
    utcnow,
)

CHUNK = 50
"""Jobs erased in one transaction, so that others need not wait."""
FETCHED_WITHIN_S = 86_400.0


class SqlPrivacy:
    def __init__(self, database: Database, files: Files, exports: Path) -> None:
        self._database = database
        self._files = files
        self._exports = exports

    async def export(self, person_id: str, *, max_bytes: int | None = None) -> Path:
        rows, pictures = await self._database.read(lambda tx: _everything(tx, person_id))
        return await asyncio.to_thread(self._zip, rows, pictures, max_bytes)

    def _zip(self, rows: dict[str, Any], pictures: list[tuple[str, str]], max_bytes: int | None) -> Path:
        self._exports.mkdir(mode=0o700, exist_ok=True)
        path = self._exports / f"{secrets.token_hex(16)}.zip"
        try:
            path.touch(mode=0o600)
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                left_out = self._add_pictures(archive, pictures, rows, max_bytes)
                archive.writestr("everything.json", _to_json({**rows, "pictures_left_out": left_out}))
        except OSError as error:
            path.unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull() from error
            raise
        return path

    def _add_pictures(
        self, archive: zipfile.ZipFile, pictures: list[tuple[str, str]], rows: dict[str, Any], max_bytes: int | None
    ) -> list[str]:
        """Returns the ids of those for which there was no room."""
        left_out: list[str] = []
        words = len(_to_json(rows)) + 200 * (len(pictures) + 1) if max_bytes is not None else 0
        room = None if max_bytes is None else max_bytes - words
        for media_id, media_type in pictures:
            path = self._files.path(media_id, media_type)
            with suppress(FileNotFoundError):
                size = path.stat().st_size
                if room is not None and size > room:
                    left_out.append(media_id)
                    continue
                archive.write(path, f"pictures/{path.name}", zipfile.ZIP_STORED)
                room = None if room is None else room - size
        return left_out

    async def erase(self, job_id: str, owner: str) -> Job:
        started = time.time()
        erased = await self._database.write(
            lambda tx: erasure.erase(tx, self._database.dialect, [_own(tx, job_id, owner)])
        )
        await self._remove(erased.files, started)
        return erased.jobs[0]

    async def forget(self, person_id: str) -> list[Job]:
        started = time.time()
        await self._database.write(lambda tx: erasure.begin_forgetting(tx, person_id))
        running: list[Job] = []
        while True:
            erased = await self._database.write(
                lambda tx: erasure.erase(tx, self._database.dialect, erasure.jobs_left(tx, person_id, CHUNK))
            )
            await self._remove(erased.files, started)
            running += [one for one in erased.jobs if one.state is JobState.RUNNING]
            if not erased.jobs:
                break
        await self._remove(await self._database.write(lambda tx: erasure.end_forgetting(tx, person_id)), started)
        return running

    async def _remove(self, files: Any, started: float) -> None:
        """Files written again since are somebody's. One that stays after a crash has no rows: the sweep takes it."""
        paths = [self._files.path(media_id, media_type) for media_id, media_type in files]
        await asyncio.to_thread(lambda: [self._files.remove(path, started) for path in paths])

    async def tidy(self) -> None:
        await asyncio.to_thread(self._tidy)

    def _tidy(self) -> None:
        for path in self._exports.glob("*.zip"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - FETCHED_WITHIN_S:
                    path.unlink()


def _own(tx: Connection, job_id: str, owner: str) -> JobRow:
    """Also when it is erased already: whoever did not hear of that asks again. Raises: JobNotFound."""
    erased = select(job).where(job.c.id == job_id, job.c.owner == owner, job.c.erased.is_(True))
    return tx.execute(erased).one_or_none() or find(tx, job_id, owner)


def _everything(tx: Connection, person_id: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Every row that is the person's, by table, and their pictures, newest first."""
    jobs = _rows(tx, job, job.c.owner == person_id, "space", "lease_until", "place", "erased")
    for one in jobs:
        one["origin"] = _without_secrets(one["origin"])
    ids = select(job.c.id).where(job.c.owner == person_id)
    rows = {
        "exported_at": utcnow(),
        "person": _rows(tx, person, person.c.id == person_id),
        "accounts": _rows(tx, account, account.c.person == person_id),
        "settings": _rows(tx, person_setting, person_setting.c.person == person_id),
        "keys": _rows(tx, api_key, api_key.c.person == person_id, "secret_hash"),
        "jobs": jobs,
        "messages": _rows(tx, message, message.c.job.in_(ids)),
        "pictures": _rows(tx, media_owner, media_owner.c.owner == person_id),
        "ledger": _rows(tx, ledger, ledger.c.person == person_id),
        "quota": _rows(tx, quota_day, quota_day.c.person == person_id),
    }
    owned = select(media.c.id, media.c.media_type).join(media_owner).where(media_owner.c.owner == person_id)
    pictures = tx.execute(owned.order_by(media_owner.c.kept_since.desc(), media.c.id))
    return rows, [(row.id, row.media_type) for row in pictures]


def _without_secrets(origin: dict[str, Any]) -> dict[str, Any]:
    extra = {name: value for name, value in origin.get("extra", {}).items() if name not in SECRET_EXTRA}
    return {**origin, "extra": extra}


def _rows(tx: Connection, table: Table, condition: Any, *without: str) -> list[dict[str, Any]]:
    columns = [column for column in table.c if column.name not in without]
    return [dict(row._mapping) for row in tx.execute(select(*columns).where(condition))]


def _to_json(rows: dict[str, Any]) -> str:
    return json.dumps(rows, indent=1, ensure_ascii=False, default=str)
