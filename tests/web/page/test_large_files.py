"""Photos in HEIC and files near the limits of uploads."""

import base64
from pathlib import Path

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]

HEIC = (Path(__file__).parents[2] / "inference" / "images" / "heic" / "plain.heic").read_bytes()
TIFF = b"II*\0" + bytes(16)
MIB = 2**20
LIMITS = "too large: at most 10 MiB, or 20 in HEIC"
CHOOSE = """([start, size, name, type]) => {
  const bytes = Uint8Array.from(atob(start), (one) => one.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes, new Uint8Array(size - bytes.length)], name, { type }));
  const field = document.getElementById("create-file");
  field.files = files.files;
  field.dispatchEvent(new Event("change", { bubbles: true }));
}"""
DRAW = """async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 400, height: 300 });
  const blob = await new Promise((resolve) => canvas.toBlob(resolve));
  return btoa(String.fromCharCode(...new Uint8Array(await blob.arrayBuffer())));
}"""


async def choose(page, start, size, name, media_type=""):
    """Choose a file of `size` bytes that begins with `start`."""
    await page.evaluate(CHOOSE, [base64.b64encode(start).decode(), size, name, media_type])


def heic(size):
    """The beginning of a valid photo of `size` bytes: a box of free space follows the image."""
    return HEIC + (size - len(HEIC)).to_bytes(4) + b"free"


@pytest.fixture
def alert(tab):
    return tab.page.locator(".create-composer [role=alert]")


@pytest.fixture
def photos(tab):
    return tab.page.get_by_role("list", name="Photos").locator("img")


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "IMG_1.jpg"])
async def test_a_large_heic_photo_is_sent_as_it_is(server, tab, alert, photos, name):
    await tab.open(server.url)

    await choose(tab.page, heic(19 * MIB), 19 * MIB, name)

    await expect(photos).to_have_count(1)
    await expect(alert).to_have_count(0)
    assert tab.errors == []


async def test_a_photo_above_the_limit_is_refused_before_it_is_sent(server, tab, alert, photos):
    sent = []
    await tab.page.route("**/api/v1/media", lambda route: sent.append(route))
    await tab.open(server.url)

    await choose(tab.page, heic(20 * MIB + 1), 20 * MIB + 1, "IMG_2.HEIC")

    await expect(alert).to_contain_text(LIMITS)
    assert sent == []
    assert tab.errors == []


async def test_a_file_between_the_limits_that_is_not_heic_is_refused_with_a_sentence(server, tab, alert):
    await tab.open(server.url)

    await choose(tab.page, TIFF, 12 * MIB, "scan.tiff")

    await expect(alert).to_contain_text(LIMITS)


async def test_a_small_picture_in_a_large_file_is_shrunk(server, tab, alert, photos):
    await tab.open(server.url)
    drawn = base64.b64decode(await tab.page.evaluate(DRAW))

    await choose(tab.page, drawn, 12 * MIB, "noise.png", "image/png")

    await expect(photos).to_have_count(1)
    await expect(alert).to_have_count(0)
