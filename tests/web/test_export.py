"""`POST /export`: images as a zip."""

import io
import json
import zipfile
from dataclasses import replace
from typing import Any

import pytest

from bot.jobs import Result, StoredImage
from bot.usecases.image_export import describe_image, file_name
from inference.images.metadata import SOURCE_TYPE
from tests.fakes import make_job
from tests.web.api_client import imagine, make, problem
from tests.web.conftest import open_client
from tests.web.test_grids import GUIDANCE, finish, grid

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def export(client, **body):
    answer = await client.post("/api/v1/export", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


async def test_all_images_are_exported_each_with_the_json_of_how_it_was_made(client):
    first = await make(client, imagine("a red circle", count=2, seed=7))
    second = await make(client, imagine("a star"))

    files = await export(client)

    names = [f"easel-{first['id']}-{n}-a-red-circle" for n in (1, 2)] + [f"easel-{second['id']}-1-a-star"]
    assert set(files) >= {f"{name}.{kind}" for name in names for kind in ("png", "json")}
    details = json.loads(files[f"{names[1]}.json"])
    assert (details["job"], details["n"], details["seed"], details["file"]) == (first["id"], 2, 8, f"{names[1]}.png")
    assert (details["options"]["prompt"], details["digital_source_type"]) == ("a red circle", SOURCE_TYPE)
    image = await client.get(first["result"]["media"][1]["url"])
    assert files[f"{names[1]}.png"] == image.content


@pytest.mark.parametrize(("parameters", "is_marked"), [("a fox, Postprocess upscale by: 2", True), ("", False)])
async def test_a_resized_image_is_marked_as_generated_if_it_was(parameters, is_marked):
    image = StoredImage(id="m" * 64, media_type="image/png", width=8, height=8, size=9)
    result = Result(media=(image,), parameters=parameters)
    resized = make_job(command="upscale", options={"method": "resize"}, result=result)

    assert ("digital_source_type" in describe_image(resized, image)) == is_marked


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A red fox, (at:1.2) night!", "a-red-fox-at-1-2-night"),
        ("../../etc/passwd\\CON:", "etc-passwd-con"),
        ("\u72d0\u72f8 \U0001f98a", "\u72d0\u72f8"),
        ("fox " * 500, "fox-fox-fox-fox-fox-fox-fox-fox-fox-fox"),
        ("...", ""),
    ],
)
async def test_names_are_readable_and_harmless(prompt, words):
    job = make_job(options={"prompt": prompt})

    assert file_name(job, 3) == f"easel-{job.id}-3-{words}".rstrip("-")


async def test_jobs_and_single_pictures_can_be_chosen(client):
    first = await make(client, imagine(count=2))
    second = await make(client, imagine("a star"))

    files = await export(client, jobs=[second["id"][:8]], pictures=[{"job": first["id"], "n": 2}])

    names = [f"easel-{first['id']}-2-a-red-circle", f"easel-{second['id']}-1-a-star"]
    assert set(files) == {f"{name}.{kind}" for name in names for kind in ("png", "json")}


async def test_as_many_jobs_and_pictures_as_are_allowed_can_be_named(client):
    body = {"jobs": ["aaaa2222"] * 1000, "pictures": [{"job": "aaaa2222", "n": 1}] * 1000}

    problem(await client.post("/api/v1/export", json=body), 404, "not_found")


async def test_a_grid_is_exported_by_its_id_or_by_all_of_its_jobs_with_its_sheets(client):
    batch = await finish(client, grid(z=GUIDANCE))
    ids = [job["id"] for job in batch["jobs"]]

    by_id = await export(client, jobs=[batch["batch"]])
    by_jobs = await export(client, jobs=ids[:1], pictures=[{"job": one, "n": 1} for one in ids[1:]])
    some = await export(client, jobs=ids[1:])

    sheets = [f"easel-grid-{batch['batch']}-{n}-a-fox" for n in (1, 2)]
    assert (
        set(by_id)
        == set(by_jobs)
        == set(some) | {f"{name}.{kind}" for name in (*sheets, f"easel-{ids[0]}-1-a-fox") for kind in ("png", "json")}
    )
    assert by_id[f"{sheets[0]}.png"] == (await client.get(batch["sheets"][0]["url"])).content
    details = json.loads(by_id[f"{sheets[0]}.json"])
    assert (details["axes"], details["cells"][1]["job"]) == (["steps: 2, 3", "guidance: 1, 5"], ids[1])
    assert not any("grid" in name for name in some)


async def test_a_sheet_is_exported_only_where_all_of_its_pictures_may_be_shown(server, client, monkeypatch):
    batch = await finish(client, grid())
    exports = server.usecases.exports
    find = exports.grids.grids.batches.get_batch

    async def find_adult(batch_id, owner):
        record = await find(batch_id, owner)
        media = [replace(one, is_adult=True) for one in record.jobs[0].result.media]
        first = replace(record.jobs[0], result=replace(record.jobs[0].result, media=tuple(media)))
        return replace(record, jobs=(first, *record.jobs[1:]))

    monkeypatch.setattr(exports.grids.grids.batches, "get_batch", find_adult)
    monkeypatch.setattr(exports.moderation, "settings", replace(exports.moderation.settings, local_policy="block"))

    files = await export(client, jobs=[job["id"] for job in batch["jobs"]])

    [sheet] = [name for name in files if "grid" in name]
    assert json.loads(files[sheet])["left_out"] == "blocked"


async def test_a_grid_of_somebody_else_cannot_be_exported(server, client):
    batch = await finish(client, grid())
    bob = open_client(server)
    bob.headers["Authorization"] = f"Bearer {await server.create_key('bob')}"

    problem(await bob.post("/api/v1/export", json={"jobs": [batch["batch"]]}), 404, "not_found")
    await bob.aclose()


async def test_a_deleted_image_is_left_out_and_the_others_keep_their_numbers(client):
    job = await make(client, imagine(count=2, seed=7))
    assert (await client.delete(f"/api/v1/jobs/{job['id']}/pictures/1")).status_code == 204

    files = await export(client, jobs=[job["id"]])

    name = f"easel-{job['id']}-2-a-red-circle"
    assert set(files) == {f"{name}.png", f"{name}.json"}
    assert json.loads(files[f"{name}.json"])["seed"] == 8
    gone = await client.post("/api/v1/export", json={"pictures": [{"job": job["id"], "n": 1}]})
    problem(gone, 404, "not_found")


async def test_what_belongs_to_others_or_does_not_exist_is_refused_before_anything_is_sent(server, client):
    job = await make(client)
    client.headers["Authorization"] = f"Bearer {await server.create_key()}"
    bob = open_client(server)
    bob.headers["Authorization"] = f"Bearer {await server.create_key('bob')}"

    refused = await bob.post("/api/v1/export", json={"jobs": [job["id"]]})
    problem(refused, 404, "not_found")
    problem(await bob.post("/api/v1/export", json={"pictures": [{"job": job["id"], "n": 1}]}), 404, "not_found")
    assert await export(bob) == {}
    await bob.aclose()
    problem(await client.post("/api/v1/export", json={"pictures": [{"job": job["id"], "n": 2}]}), 404, "not_found")
    bodies: list[dict[str, Any]] = [
        {"jobs": []},
        {"pictures": [{"job": job["id"]}]},
        {"x": 1},
    ]
    for body in bodies:
        problem(await client.post("/api/v1/export", json=body), 422, "invalid_option")


@pytest.mark.parametrize(("change", "reason"), [("blocked", "blocked"), ("lost", "deleted")])
async def test_an_image_that_may_not_be_shown_or_is_gone_has_only_its_json(server, client, monkeypatch, change, reason):
    job = await make(client)
    exports = server.usecases.exports
    if change == "lost":
        (image,) = job["result"]["media"]
        next(server.data_dir.rglob(f"{image['id']}*")).unlink()
    else:
        get_job = exports.store.get_job

        async def get_adult_job(job_id, owner):
            found = await get_job(job_id, owner)
            media = tuple(replace(image, is_adult=True) for image in found.result.media)
            return replace(found, result=replace(found.result, media=media))

        monkeypatch.setattr(exports.store, "get_job", get_adult_job)
        monkeypatch.setattr(exports.moderation, "settings", replace(exports.moderation.settings, local_policy="block"))

    files = await export(client, jobs=[job["id"]])

    [name] = files
    assert name.startswith(f"easel-{job['id']}-1-")
    details = json.loads(files[name])
    assert (details["file"], details["left_out"]) == (None, reason)
