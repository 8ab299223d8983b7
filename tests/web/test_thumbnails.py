"""`GET /media/{id}?w=`: smaller forms of people's images."""

import io

import pytest
from PIL import Image

from tests.web.api_client import make, problem, upload
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")


def image_of(answer) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


@pytest.mark.parametrize(("width", "expected"), [(256, (256, 128)), (512, (512, 256)), (1024, (600, 300))])
async def test_a_webp_at_most_so_wide(shared_client, width, expected):
    image = await upload(shared_client, picture(1, 600, 300))

    for _ in range(2):  # made, then kept
        answer = await shared_client.get(f"/api/v1/media/{image['id']}?w={width}")
        assert (image_of(answer).format, image_of(answer).size) == ("WEBP", expected)
        assert answer.headers["content-type"] == "image/webp"
        assert answer.headers["content-length"] == str(len(answer.content))


async def test_it_may_be_kept_by_the_browser_of_this_caller(shared_client):
    image = await upload(shared_client, picture(2, 600, 300))
    address = f"/api/v1/media/{image['id']}"
    whole, small, larger = [await shared_client.get(f"{address}{query}") for query in ("", "?w=256", "?w=512")]

    again = await shared_client.get(f"{address}?w=256", headers={"If-None-Match": small.headers["etag"]})
    other = await shared_client.get(f"{address}?w=256", headers={"If-None-Match": whole.headers["etag"]})

    assert len({answer.headers["etag"] for answer in (whole, small, larger)}) == 3
    assert small.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert {"Authorization", "Cookie"} == set(small.headers["vary"].split(", "))
    assert small.headers["x-content-type-options"] == "nosniff"
    assert small.headers["content-disposition"] == f'inline; filename="easel-{image["id"][:12]}-256.webp"'
    assert (again.status_code, again.content, other.status_code) == (304, b"", 200)


@pytest.mark.parametrize("query", ["", "?w=256"])
async def test_head_answers_like_get_without_the_bytes(shared_client, query):
    image = await upload(shared_client, picture(2, 600, 300))
    whole, head = [await shared_client.request(name, f"/api/v1/media/{image['id']}{query}") for name in ("GET", "HEAD")]

    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "cache-control", "vary"):
        assert head.headers[name] == whole.headers[name]


async def test_a_result_has_one_that_says_it_was_generated(shared_client):
    job = await make(shared_client)

    answer = await shared_client.get(f"{job['result']['media'][0]['url']}?w=256")

    assert image_of(answer).format == "WEBP"


@pytest.mark.parametrize(
    "width", ["", "0", "255", "4096", "-1", "256.0", "1e3", "../256", "w256", "256%00", "%2e%2e%2f"]
)
async def test_other_widths_are_refused_in_one_sentence(shared_client, width):
    answer = await shared_client.get(f"/api/v1/media/{'0' * 64}?w={width}")

    refused = problem(answer, 422, "invalid_option")
    assert refused["option"] == "w"
    assert "256, 512 or 1024" in refused["detail"]


@pytest.mark.parametrize("media_id", ["0" * 64, "0" * 63, "F" * 64, f"{'0' * 64}.w256"])
async def test_what_is_not_there_is_not_found(shared_client, media_id):
    problem(await shared_client.get(f"/api/v1/media/{media_id}?w=256"), 404, "not_found")


async def test_other_peoples_are_not_found_even_when_they_exist(server, client):
    ann, ben = [{"Authorization": f"Bearer {await server.create_key(name)}"} for name in ("Ann", "Ben")]
    sent = await client.post("/api/v1/media", files={"file": ("picture", picture(3, 600, 300))}, headers=ann)
    address = f"/api/v1/media/{sent.json()['id']}?w=256"
    etag = (await client.get(address, headers=ann)).headers["etag"]

    problem(await client.get(address, headers=ben), 404, "not_found")
    problem(await client.get(address, headers={**ben, "If-None-Match": etag}), 404, "not_found")
    problem(await client.get(address), 401, "unauthorized")


async def test_it_goes_with_its_image(server, client):
    job = await make(client)
    url = job["result"]["media"][0]["url"]
    assert (await client.get(f"{url}?w=256")).status_code == 200

    person = await server.usecases.people.local_person()
    await server.storage.privacy.erase_job(job["id"], person.id)

    problem(await client.get(f"{url}?w=256"), 404, "not_found")
    assert not list((server.data_dir / "media").rglob("*.webp"))


async def test_a_damaged_file_is_one_clear_problem(server, client):
    image = await upload(client, picture(4, 600, 300))
    [path] = (server.data_dir / "media").rglob("*.png")
    path.write_bytes(path.read_bytes()[:60])

    answer = await client.get(f"/api/v1/media/{image['id']}?w=256")

    assert "damaged" in problem(answer, 415, "unsupported_media")["detail"]


async def test_a_full_disk_still_shows_them(server, client, monkeypatch):
    image = await upload(client, picture(5, 600, 300))
    monkeypatch.setattr(server.storage.media._disk, "_min_free_mb", 10**9)

    answer = await client.get(f"/api/v1/media/{image['id']}?w=256")

    assert image_of(answer).size == (256, 128)
