"""Takes the pictures of `docs/page.md` from a running server: `.venv/bin/python -m scripts.page_screenshots URL`.

The server needs the starter models, at least one picture of "an owl on a purple background", one job with several
pictures and one answer. The pictures are written to `docs/page/`, with a palette, because they are read in a browser.
"""

import argparse
import io
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "page"
DESKTOP, PHONE = (1440, 900), (390, 844)
LIGHT, DARK = "light", "dark"
COLOURS = 144
MAX_BYTES = 150 * 1024
SETTLE_MS = 1500
FINISHED = ("delivered", "failed", "dead", "cancelled")
OWL = "an owl on a purple background"


class Server:
    """What the pictures need of the server's API."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=f"{url.rstrip('/')}/api/v1", timeout=30)
        jobs = self._client.get("/jobs", params={"limit": 60}).json()["jobs"]
        done = [job for job in jobs if job["result"] and job["result"]["media"]]
        self.series = next(job for job in done if len(job["result"]["media"]) > 1)
        self.owl = next(job for job in done if job["options"].get("prompt") == OWL)["result"]["media"][0]["id"]

    def queue_jobs(self) -> list[str]:
        """Their ids."""
        ids = []
        for words in ("a rocket", "a red car", "a turtle", "a green apple", "a pizza", "a house"):
            options = {"prompt": f"{words} on a white background", "count": 4}
            ids.append(self._client.post("/jobs", json={"command": "imagine", "options": options}).json()["id"])
        return ids

    def erase_jobs(self, ids: list[str]) -> None:
        for job in ids:
            self._client.delete(f"/jobs/{job}")
            while self._client.get(f"/jobs/{job}").json()["state"] not in FINISHED:
                time.sleep(0.1)
            self._client.delete(f"/jobs/{job}", params={"erase": "true"})


def select_owl(page: Page) -> None:
    """Paints a mask over a part of the picture."""
    page.keyboard.press("r")
    box = page.locator(".edit-stage").bounding_box()
    assert box is not None
    middle, radius = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2), min(box["width"], box["height"]) / 5
    page.mouse.move(middle[0] - radius, middle[1] - radius)
    page.mouse.down()
    page.mouse.move(middle[0] + radius, middle[1] + radius, steps=8)
    page.mouse.up()
    page.get_by_label("What should be there").fill("a cat on a purple background")


def open_account(page: Page) -> None:
    page.get_by_role("button", name="Account").click()
    page.get_by_role("button", name="Linked accounts and data").click()


@dataclass(frozen=True)
class Shot:
    """`prepare` makes the state of the view that is shown."""

    name: str
    path: str
    size: tuple[int, int]
    scheme: str
    prepare: Callable[[Page], Any] = lambda page: None
    is_queued: bool = False


def list_shots(server: Server) -> list[Shot]:
    picture, editor = f"/p/{server.series['id']}/2", f"/edit/{server.owl}"
    return [
        Shot("create", "/", DESKTOP, LIGHT, lambda page: page.locator("#prompt").fill("a fox on a blue background")),
        Shot("create-phone", f"/?image={server.owl}&mode=edit", PHONE, DARK),
        Shot("gallery", "/gallery", DESKTOP, DARK),
        Shot("gallery-phone", "/gallery", PHONE, LIGHT),
        Shot("viewer", picture, DESKTOP, LIGHT),
        Shot("viewer-phone", picture, PHONE, DARK),
        Shot("edit", editor, DESKTOP, DARK, select_owl),
        Shot("edit-phone", editor, PHONE, LIGHT, select_owl),
        Shot("models", "/models", DESKTOP, LIGHT),
        Shot("models-phone", "/models", PHONE, DARK),
        Shot("admin", "/admin?tab=metrics", DESKTOP, DARK),
        Shot("account-phone", "/", PHONE, LIGHT, open_account),
        Shot("queue", "/queue", DESKTOP, LIGHT, is_queued=True),
        Shot("queue-phone", "/queue", PHONE, DARK, is_queued=True),
    ]


def take(browser: Browser, url: str, shot: Shot) -> bytes:
    """The screenshot as PNG with a palette."""
    width, height = shot.size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if shot.scheme == DARK else "light",
        reduced_motion="reduce",
        has_touch=shot.size == PHONE,
        is_mobile=shot.size == PHONE,
    )
    page = context.new_page()
    page.goto(f"{url.rstrip('/')}{shot.path}")
    page.locator("#main h1").wait_for(state="attached")
    page.wait_for_timeout(SETTLE_MS)
    shot.prepare(page)
    page.wait_for_timeout(SETTLE_MS)
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    context.close()
    file = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", metavar="URL")
    parser.add_argument("--only", metavar="NAME", nargs="*", help="names of pictures, such as create gallery-phone")
    arguments = parser.parse_args()
    server = Server(arguments.url)
    FOLDER.mkdir(exist_ok=True)
    too_large = False
    with sync_playwright() as playwright:
        executable = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for shot in list_shots(server):
            if arguments.only and shot.name not in arguments.only:
                continue
            jobs = server.queue_jobs() if shot.is_queued else []
            started, content = time.monotonic(), take(browser, arguments.url, shot)
            server.erase_jobs(jobs)
            (FOLDER / f"{shot.name}.png").write_bytes(content)
            too_large |= len(content) > MAX_BYTES
            print(f"{shot.name}.png: {len(content) / 1024:.0f} KiB, {time.monotonic() - started:.1f} s")
        browser.close()
    return int(too_large)


if __name__ == "__main__":
    raise SystemExit(main())
