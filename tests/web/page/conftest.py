"""The page in a real browser: one Chromium for all files of a worker, a tab for each file."""

import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Error, Page, async_playwright, expect

from tests.web.conftest import ServedEasel

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-extensions", "--no-first-run", "--remote-debugging-port=0",
]  # fmt: skip
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
START_TIMEOUT_S = 30
AXE = Path(__file__).parent.parent / "axe" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LAYOUT_SHIFT = """() => new Promise((resolve) => {
  let sum = 0;
  const add = (shift) => (sum += shift.hadRecentInput ? 0 : shift.value);
  new PerformanceObserver((list) => list.getEntries().forEach(add)).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve(sum), 50);
})"""


@pytest.fixture(scope="session")
def chromium_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running Chromium."""
    if CHROMIUM is None:
        if os.environ.get("EASEL_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium is installed, and EASEL_REQUIRE_BROWSER=1 asks for one")
        pytest.skip("no Chromium is installed: apt-get install chromium")
    profile = tmp_path_factory.mktemp("chromium")
    command = [CHROMIUM, *ARGUMENTS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        port_file, deadline = profile / "DevToolsActivePort", time.monotonic() + START_TIMEOUT_S
        while not (port_file.exists() and port_file.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}"
        process.terminate()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium_address: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        yield await playwright.chromium.connect_over_cdp(chromium_address)


@dataclass
class Tab:
    """A page, and the errors and warnings of its console."""

    page: Page
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} {message.location}")

    async def open(self, url: str, path: str = "/") -> None:
        """Resolves when the view is shown."""
        await self.page.goto(f"{url}{path}")
        await expect(self.page.locator("body[data-shell]")).to_be_attached()
        await expect(self.page.locator("#main h1")).to_be_attached()

    async def leave(self) -> None:
        """Leave the page for an empty one, even while it goes elsewhere by itself, as after signing out."""
        for _ in range(5):
            try:
                await self.page.goto("about:blank")
            except Error as error:
                if "interrupted by another navigation" not in error.message:
                    raise
            else:
                return
        raise AssertionError(f"the page does not stop navigating: {self.page.url}")

    async def sign_in(self, key: str) -> None:
        await self.page.get_by_label("API key", exact=True).fill(key)
        await self.page.get_by_role("button", name="Sign in").click()


async def _new_tab(browser: Browser, **options: Any) -> Tab:
    context = await browser.new_context(reduced_motion="reduce", **options)
    context.set_default_timeout(8000)
    return Tab(await context.new_page())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desktop_tab(browser: Browser) -> AsyncIterator[Tab]:
    """One tab for all tests of a file, because a new context costs a second of processor time.

    Each server has its own port, so neither storage nor caches of one test reach another.
    """
    tab = await _new_tab(browser, viewport=DESKTOP)
    yield tab
    await tab.page.context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def phone_tab(browser: Browser) -> AsyncIterator[Tab]:
    tab = await _new_tab(browser, viewport=PHONE, is_mobile=True, has_touch=True, device_scale_factor=2)
    yield tab
    await tab.page.context.close()


async def _clean(tab: Tab) -> None:
    await tab.page.unroute_all()
    await tab.leave()
    await tab.page.context.clear_cookies()


@pytest_asyncio.fixture(loop_scope="module")
async def tab(desktop_tab: Tab, server: ServedEasel) -> AsyncIterator[Tab]:
    """On a desktop. Left before the server ends, whose end would be an error on its console."""
    desktop_tab.errors.clear()
    yield desktop_tab
    await _clean(desktop_tab)


@pytest_asyncio.fixture(loop_scope="module")
async def phone(phone_tab: Tab, server: ServedEasel) -> AsyncIterator[Tab]:
    phone_tab.errors.clear()
    yield phone_tab
    await _clean(phone_tab)


async def find_violations(page: Page) -> list[str]:
    """What axe-core finds: WCAG 2.2 A and AA, and its best practices."""
    if not await page.evaluate("Boolean(window.axe)"):
        await page.evaluate(AXE.read_text(encoding="utf-8"))
    found = await page.evaluate("(tags) => axe.run({ runOnly: tags })", RULES)
    return [f"{one['id']}: {node['html'][:200]}" for one in found["violations"] for node in one["nodes"]]


async def measure_layout_shift(page: Page) -> float:
    """The cumulative layout shift since the page was opened."""
    shift: float = await page.evaluate(LAYOUT_SHIFT)
    return shift
