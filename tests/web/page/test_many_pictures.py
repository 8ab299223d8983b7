"""2,000 jobs of 1024 x 1024 px: bytes, requests, nodes and memory. Times are in `benchmarks/page`."""

import shutil
import sys

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.web.conftest import open_easel
from tests.web.filled_gallery import fill_gallery
from tests.web.page import figures
from tests.web.page.conftest import measure_layout_shift

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]

JOBS = 2000
OLDEST = "a red circle"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def full_server(tmp_path_factory, upgraded_data):
    data_dir = tmp_path_factory.mktemp("full")
    shutil.copytree(upgraded_data, data_dir, dirs_exist_ok=True)
    async with open_easel(data_dir) as easel:
        await easel.serve()
        await fill_gallery(easel, JOBS)
        yield easel
    shutil.rmtree(data_dir)


@pytest_asyncio.fixture(loop_scope="module")
async def server(full_server):
    """What the tabs wait for."""
    return full_server


async def test_the_first_view_is_small_and_what_follows_is_bounded(server, tab, browser):
    traffic = await figures.Traffic.follow(tab.page)
    await tab.open(server.url, "/gallery")
    await figures.wait_for_pictures(tab.page)
    await expect(tab.page.locator(".gallery-count")).to_have_text("2,001 results")

    assert await tab.page.evaluate(figures.VISIBLE) >= 12
    assert traffic.size <= 1_000_000
    assert traffic.requests <= 30, traffic.sent
    assert await measure_layout_shift(tab.page) < 0.02
    assert await tab.page.evaluate(figures.OPEN) < 1000
    await tab.page.keyboard.press("Escape")
    nodes = await figures.scroll_to_last(tab.page, OLDEST)
    assert nodes <= 1500
    if sys.platform == "linux":
        assert await figures.renderer_memory_mb(browser) <= 350
    await tab.page.get_by_label("Thumbnail size").fill("0")
    assert await tab.page.evaluate(figures.NODES) <= 1500
    await expect(tab.page.get_by_role("link", name=OLDEST)).to_be_in_viewport()
    await tab.page.get_by_label("Thumbnail size").fill("3")
    assert tab.errors == []


async def test_the_first_view_of_a_phone(server, phone):
    traffic = await figures.Traffic.follow(phone.page)
    await phone.open(server.url, "/gallery")
    await figures.wait_for_pictures(phone.page)

    assert await phone.page.evaluate(figures.VISIBLE) >= 6
    assert traffic.size <= 1_000_000
    assert traffic.requests <= 30, traffic.sent
    assert await measure_layout_shift(phone.page) < 0.02
    assert phone.errors == []
