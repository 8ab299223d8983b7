"""Uploads and downloads of images."""

import asyncio
import contextlib
import hashlib
import io
import time

import pytest
from PIL import Image, PngImagePlugin

from inference.ipc.environment import ROOT
from tests.web.api_client import IMAGINE, make, problem, upload
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def server(shared_server):
    return shared_server


@pytest.fixture
def client(shared_client):
    return shared_client


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>alert(1)</script></svg>'
BOUNDARY = "b0undary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def form(name: str, data: bytes, file_name: str = "picture.png") -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n\r\n'
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (48, 32), (200, 30, 30)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "GIF"])
async def test_a_picture_is_stored_and_returned(client, kind):
    answer = await client.post("/api/v1/media", files={"file": ("photo", encoded(kind))})

    kept = answer.json()
    got = await client.get(f"/api/v1/media/{kept['id']}")
    assert answer.status_code == 201
    assert set(kept) == {"id", "media_type", "width", "height", "parameters"}
    assert (kept["width"], kept["height"]) == (48, 32)
    assert hashlib.sha256(got.content).hexdigest() == kept["id"]
    assert got.headers["content-type"] == kept["media_type"]


async def test_a_photo_in_heic_is_stored_as_jpeg(client):
    photo = ROOT / "tests/inference/images/heic/turned.heic"

    kept = await upload(client, photo.read_bytes())

    assert (kept["media_type"], kept["width"], kept["height"]) == ("image/jpeg", 48, 64)


async def test_the_settings_of_a_file_are_offered_as_they_are_accepted_here(client):
    info, file = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("parameters", "a cat\nSteps: 99, Sampler: LCM, Seed: 7, Size: 768x512, Model: other")
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)

    parameters = (await upload(client, file.getvalue()))["parameters"]
    answer = await client.post("/api/v1/jobs", json={"command": "imagine", "options": parameters["fitted"]})
    repeated = await make(client, {"command": parameters["command"], "options": parameters["options"]})

    assert parameters["options"]["steps"] == 99
    assert (repeated["options"]["steps"], repeated["options"]["width"], repeated["options"]["height"]) == (50, 128, 88)
    assert repeated["result"]["notes"][:4] == parameters["notes"]
    assert parameters["fitted"] == {"prompt": "a cat", "steps": 50, "seed": 7, "width": 128, "height": 88}
    assert len(parameters["notes"]) == 4
    assert answer.status_code == 202


async def test_a_picture_without_metadata_has_no_parameters(client, a_picture):
    kept = await upload(client, a_picture)

    assert kept["parameters"] is None


async def test_a_picture_is_cached_for_good_but_privately(client):
    job = await make(client, IMAGINE)
    url = job["result"]["media"][0]["url"]

    answer = await client.get(url)
    again = await client.get(url, headers={"If-None-Match": answer.headers["etag"]})

    assert "immutable" in answer.headers["cache-control"]
    assert "private" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == f'inline; filename="easel-{url[-64:][:12]}.png"'
    assert answer.headers["vary"] == "Authorization, Cookie"
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "data",
    [b"just some text", SVG, b"<html>", b"", picture(1, 64, 64)[:60], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\0" * 4096],
)
async def test_a_file_that_is_not_a_complete_picture_is_refused(client, data):
    answer = await client.post("/api/v1/media", files={"file": ("picture.png", data, "image/png")})

    problem(answer, 415, "unsupported_media")


async def test_a_picture_with_too_many_pixels_is_refused(client):
    file = io.BytesIO()
    Image.new("1", (4001, 4000)).save(file, "PNG")

    answer = await client.post("/api/v1/media", files={"file": file.getvalue()})

    assert problem(answer, 413, "too_large")["unit"] == "megapixels"


async def test_50_megabytes_are_refused_before_they_are_read(client, monkeypatch):
    monkeypatch.setattr("adapters.web.middleware.DRAIN_TIMEOUT_S", 60.0)
    data = b"\x89PNG" + bytes(50 * 2**20)

    began = time.monotonic()
    answer = await client.post("/api/v1/media", files={"file": ("big.png", data)})

    assert problem(answer, 413, "too_large")["limit"] == 10
    assert time.monotonic() - began < 50
    assert (await client.get("/healthz")).status_code == 200


async def test_a_declared_length_is_enough_to_refuse(server):
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /api/v1/media HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 52428800\r\n")
    writer.write(f"Content-Type: {FORM['Content-Type']}\r\n\r\n".encode())

    answer = await asyncio.wait_for(reader.readuntil(b"}"), 30)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


async def test_a_client_that_expects_100_continue_is_refused_before_it_sends(server):
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /api/v1/media HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 52428800\r\n")
    writer.write(f"Expect: 100-continue\r\nContent-Type: {FORM['Content-Type']}\r\n\r\n".encode())

    answer = await asyncio.wait_for(reader.readuntil(b"}"), 30)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_an_upload_without_a_length_is_counted_while_it_arrives(client):
    async def chunks():
        yield form("file", b"")[:-16]
        for _ in range(30):
            yield bytes(2**20)

    answer = await client.post("/api/v1/media", content=chunks(), headers=FORM)

    problem(answer, 413, "too_large")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (form("picture", b"x"), FORM),
        (b"", FORM),
        (b"no boundary here", FORM),
        (b"x", {"Content-Type": "multipart/form-data"}),
        (picture(1, 8, 8), {"Content-Type": "image/png"}),
        (b'{"file": "x"}', {"Content-Type": "application/json"}),
        (form("file", b"x")[:-12] + b"\r\n" + form("file", b"y"), FORM),
    ],
)
async def test_an_upload_in_another_format_is_refused(client, body, headers):
    answer = await client.post("/api/v1/media", content=body, headers=headers)

    problem(answer, 422, "invalid_option")


async def test_the_file_name_is_ignored(client):
    body = form("file", picture(5, 8, 8), "../../evil\\x.svg")

    answer = await client.post("/api/v1/media", content=body, headers=FORM)

    assert answer.json()["media_type"] == "image/png"
