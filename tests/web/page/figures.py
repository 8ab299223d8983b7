"""What the gallery costs: bytes, requests, nodes, memory and frame times, as Chromium counts them."""

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, expect

VISIBLE = """() => [...document.querySelectorAll(".gallery-tile")].filter((tile) => {
  const box = tile.getBoundingClientRect();
  const covered = document.querySelector(".gallery-bar").getBoundingClientRect().bottom;
  const main = Number.parseFloat(getComputedStyle(document.getElementById("main")).paddingBottom);
  return box.top + box.height / 2 > covered && box.top + box.height / 2 < innerHeight - main;
}).length"""
NODES = "document.querySelectorAll('*').length"
SCROLL = """([step, frames]) => new Promise((resolve) => {
  const times = [];
  let before = null;
  const next = (now) => {
    if (before !== null) times.push(now - before);
    before = now;
    window.scrollBy(0, step);
    if (times.length < frames) requestAnimationFrame(next);
    else resolve(times);
  };
  requestAnimationFrame(next);
})"""
OPEN = """() => new Promise((resolve) => {
  const started = performance.now();
  document.querySelectorAll(".gallery-tile a")[3].click();
  const look = () => {
    const image = document.querySelector(".viewer-first");
    if (image?.complete && image.naturalWidth) requestAnimationFrame(() => resolve(performance.now() - started));
    else requestAnimationFrame(look);
  };
  look();
})"""


@dataclass
class Traffic:
    """What a tab has requested from the network since it was followed.

    DevTools would otherwise keep a copy of each response in the renderer, whose memory is measured.
    """

    sent: dict[str, str] = field(default_factory=dict)
    size: int = 0

    @classmethod
    async def follow(cls, page: Page) -> "Traffic":
        traffic, session = cls(), await page.context.new_cdp_session(page)
        session.on("Network.requestWillBeSent", traffic._add)
        session.on("Network.requestServedFromCache", traffic._drop)
        session.on("Network.dataReceived", traffic._count)
        await session.send("Network.enable", {"maxTotalBufferSize": 0, "maxResourceBufferSize": 0})
        return traffic

    def _add(self, event: dict[str, Any]) -> None:
        self.sent[event["requestId"]] = event["request"]["url"]

    def _drop(self, event: dict[str, Any]) -> None:
        self.sent.pop(event["requestId"], None)

    def _count(self, event: dict[str, Any]) -> None:
        self.size += event["encodedDataLength"] or event["dataLength"]

    @property
    def requests(self) -> int:
        return len(set(self.sent.values()))


async def wait_for_pictures(page: Page) -> None:
    """All pictures in the document are loaded."""
    await expect(page.locator(".gallery-tile").first).to_be_visible()
    await page.wait_for_function("() => [...document.images].every((image) => image.complete)")


async def scroll_to_last(page: Page, name: str) -> int:
    """Scroll until the picture with this name is shown; the largest number of nodes on the way."""
    nodes, last = 0, page.get_by_role("link", name=name)
    while not await last.count():
        await page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
        nodes = max(nodes, await page.evaluate(NODES))
        await page.wait_for_timeout(20)
    await wait_for_pictures(page)
    return max(nodes, await page.evaluate(NODES))


async def measure_frames(page: Page, step: int = 120, frames: int = 240) -> float:
    """The 95th percentile of frame times while scrolling, ms."""
    times: list[float] = await page.evaluate(SCROLL, [step, frames])
    return statistics.quantiles(times, n=20)[-1]


async def renderer_memory_mb(browser: Browser) -> float:
    """The resident memory of the largest renderer process, including its 120 MB of program files."""
    session = await browser.new_browser_cdp_session()
    processes = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
    await session.detach()
    return max(_resident_mb(process["id"]) for process in processes if process["type"] == "renderer")


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
