"""The page with a history of 2,000 jobs of 1024 x 1024 px, in Chromium, on an application with fake engines.

First view: bytes, requests, layout shift, pictures in sight. Then: the time from a click on a tile to its picture in
the viewer, frame times while scrolling, and nodes and memory of the renderer after all of it was scrolled through.
"""

import asyncio
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, async_playwright

from tests.web.conftest import ServedEasel, open_easel
from tests.web.filled_gallery import fill_gallery
from tests.web.page import figures
from tests.web.page.conftest import ARGUMENTS, CHROMIUM, DESKTOP, PHONE, Tab, measure_layout_shift

JOBS, FEW_JOBS = 2000, 200
OLDEST = "a red circle"
STEP_PX = 700
STEP_S = 0.06
OPENINGS = 9
START_TIMEOUT_S = 30


def run_benchmark(*, quick: bool = False) -> dict[str, Any]:
    return asyncio.run(_measure(FEW_JOBS if quick else JOBS))


def summarize(found: dict[str, Any]) -> str:
    desktop, phone = found["desktop"], found["phone"]
    return (
        f"first view {desktop['bytes'] / 1e6:.2f} MB in {desktop['requests']} requests with {desktop['visible']} "
        f"pictures, on a phone {phone['bytes'] / 1e6:.2f} MB in {phone['requests']} with {phone['visible']}; "
        f"layout shift {desktop['layout_shift']}; a picture opens in {desktop['open_ms']} ms; 95 % of frames within "
        f"{desktop['frame_p95_ms']} ms; at the last of {found['jobs']} jobs {desktop['nodes']} nodes and "
        f"{desktop['renderer_mb']} MB"
    )


async def _measure(jobs: int) -> dict[str, Any]:
    if CHROMIUM is None:
        raise FileNotFoundError("no Chromium is installed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        async with open_easel(Path(folder) / "data") as easel:
            await easel.serve()
            await fill_gallery(easel, jobs)
            with _start_chromium(Path(folder) / "profile") as address:
                async with async_playwright() as playwright:
                    browser = await playwright.chromium.connect_over_cdp(address)
                    return await _measure_both(browser, easel, jobs)


async def _measure_both(browser: Browser, easel: ServedEasel, jobs: int) -> dict[str, Any]:
    return {
        "jobs": jobs,
        "desktop": await _measure_tab(browser, easel, viewport=DESKTOP),
        "phone": await _measure_tab(browser, easel, viewport=PHONE, is_mobile=True, device_scale_factor=2),
    }


@contextmanager
def _start_chromium(profile: Path) -> Iterator[str]:
    """Its address."""
    command = [str(CHROMIUM), *ARGUMENTS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        port, deadline = profile / "DevToolsActivePort", time.monotonic() + START_TIMEOUT_S
        while not (port.exists() and port.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port.read_text().splitlines()[0]}"
        process.terminate()


async def _measure_tab(browser: Browser, easel: ServedEasel, **options: Any) -> dict[str, Any]:
    context = await browser.new_context(reduced_motion="reduce", **options)
    tab = Tab(await context.new_page())
    traffic = await figures.Traffic.follow(tab.page)
    await tab.open(easel.url, "/gallery")
    await figures.wait_for_pictures(tab.page)
    measured = {
        "bytes": traffic.size,
        "requests": traffic.requests,
        "visible": await tab.page.evaluate(figures.VISIBLE),
        "layout_shift": round(await measure_layout_shift(tab.page), 4),
        "open_ms": await _measure_opening(tab),
        "frame_p95_ms": round(await figures.measure_frames(tab.page), 1),
        "nodes": await _scroll_through(tab),
        "renderer_mb": round(await figures.renderer_memory_mb(browser)),
    }
    await context.close()
    return measured


async def _measure_opening(tab: Tab) -> float:
    """From the click on a tile to its picture, the median; the first time loads the viewer and does not count."""
    times = []
    for _ in range(OPENINGS):
        times.append(await tab.page.evaluate(figures.OPEN))
        await tab.page.keyboard.press("Escape")
        await tab.page.locator(".overlay").wait_for(state="detached")
    return round(statistics.median(times[1:]), 1)


async def _scroll_through(tab: Tab) -> int:
    """Everything comes into sight once; the largest number of nodes."""
    nodes = 0
    while not await tab.page.get_by_role("link", name=OLDEST).count():
        await tab.page.evaluate(f"window.scrollBy(0, {STEP_PX})")
        await asyncio.sleep(STEP_S)
        nodes = max(nodes, await tab.page.evaluate(figures.NODES))
    await figures.wait_for_pictures(tab.page)
    return nodes
