"""A history of many jobs, written to the database directly: thumbnails are like those of real pictures in their bytes,
and the newest pictures in their full size."""

import asyncio
import base64
import hashlib
import io
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import insert, select

from bot.usecases.thumbnails import WIDTHS
from storage.schema import job, job_media, media, media_owner, utcnow
from tests.web.api_client import imagine, make
from tests.web.conftest import ServedEasel, open_client

SIDE = 1024
PER_DAY = 40
TITLES = ("a red fox in the snow", "a lighthouse at dusk", "two cats on a sofa", "a bowl of lemons", "an old tram")
_SAMPLES = 4


async def fill_gallery(easel: ServedEasel, count: int, *, large: int = 24) -> None:
    """Add `count` jobs with a picture of 1024 x 1024 px each, of which the newest `large` ones have all their bytes."""
    async with open_client(easel) as client:
        pattern = await make(client, imagine())
    files = await asyncio.to_thread(_write_pictures, easel, count, large)
    database = easel.storage.history._database
    await database.run_write(lambda tx: _add_rows(database.dialect, tx, pattern["id"], files))


def _write_pictures(easel: ServedEasel, count: int, large: int) -> list[tuple[str, int]]:
    folder = easel.data_dir / "media"
    samples = {width: [_write_sample(folder, width, number) for number in range(_SAMPLES)] for width in WIDTHS}
    small = _encode(Image.new("L", (SIDE, SIDE), 128), "PNG")
    files = []
    for number in range(count):
        is_large = number >= count - large
        data = _encode(_noise(), "PNG", compress_level=0) if is_large else small + number.to_bytes(4)
        media_id = hashlib.sha256(data).hexdigest()
        path = folder / media_id[:2] / media_id[2:4]
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{media_id}.png").write_bytes(data)
        for width in WIDTHS:
            (path / f"{media_id}.w{width}.webp").hardlink_to(samples[width][number % _SAMPLES])
        files.append((media_id, len(data)))
    return files


def _noise() -> Image.Image:
    return Image.frombytes("L", (SIDE, SIDE), os.urandom(SIDE * SIDE))


def _write_sample(folder: Path, width: int, number: int) -> Path:
    path = folder / f"sample-{width}-{number}.webp"
    path.write_bytes(_sample(width, number))
    return path


def _sample(width: int, number: int) -> bytes:
    """A scene without sharp edges, with some grain: as large as the thumbnail of a picture."""
    shapes = [Image.effect_noise((6 + number, 6), 220).resize((width, width), Image.Resampling.BICUBIC) for _ in "RGB"]
    grain = Image.effect_noise((width, width), 24)
    scene = Image.blend(Image.merge("RGB", shapes), Image.merge("RGB", [grain] * 3), 0.3)
    return _encode(scene, "WEBP", quality=80)


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _add_rows(dialect: Any, tx: Any, pattern_id: str, files: list[tuple[str, int]]) -> None:
    """Copies of a job, each with its own picture, the newest last; forty a day."""
    pattern = dict(tx.execute(select(job).where(job.c.id == pattern_id)).one()._mapping)
    now = utcnow()
    rows, images, owners, uses = [], [], [], []
    for number, (media_id, size) in enumerate(files, 1):
        name = base64.b32encode(hashlib.sha256(b"%d" % number).digest()[:10]).decode().lower()
        when = now - timedelta(days=(len(files) - number) // PER_DAY, seconds=len(files) - number)
        shown = {**pattern["result"]["media"][0], "id": media_id, "width": SIDE, "height": SIDE, "size": size}
        options = {
            **pattern["options"],
            "prompt": f"{TITLES[number % len(TITLES)]} {number}",
            "width": SIDE,
            "height": SIDE,
        }
        rows.append(
            pattern
            | {"seq": pattern["seq"] + number, "id": name, "options": options, "changed": pattern["changed"] + number}
            | {"created_at": when, "queued_at": when, "started_at": when, "finished_at": when}
            | {"result": {**pattern["result"], "media": [shown]}}
        )
        images.append({"id": media_id, "media_type": "image/png", "width": SIDE, "height": SIDE, "size": size})
        owners.append({"media": media_id, "owner": pattern["owner"], "alt": "", "kept_since": when, "source": "web"})
        uses.append({"job": name, "role": "output", "position": 0, "media": media_id, "owner": pattern["owner"]})
    for table, added in ((job, rows), (media, images), (media_owner, owners), (job_media, uses)):
        tx.execute(insert(table), added)
    for row in rows:
        dialect.add_text(tx, row["seq"], row["owner"], row["options"]["prompt"])
