"""The editor: a mask that is drawn, named, or given by numbers or a file, and what is repainted with it."""

import base64
import io
import shutil
from dataclasses import asdict
from typing import Any

import numpy
import pytest
import pytest_asyncio
from PIL import Image, ImageDraw
from playwright.async_api import Route, expect

from bot.commands.canvas import DIRECTIONS, plan_canvas
from bot.jobs import Media
from bot.models import IMAGE_SEGMENTATION, ModelSpec
from bot.models import IMAGE_TEXT_TO_IMAGE as INSTRUCTION
from bot.ports import RenderedImage, TaskOutput
from inference.images.mask_reading import read_mask
from tests.web import conftest as web
from tests.web.fake_pool import TestPool
from tests.web.page.conftest import find_violations, measure_layout_shift

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]

FIND = ModelSpec(name="find", tasks=(IMAGE_SEGMENTATION,), repo="find", step_s=0.01)


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def photo(shade: int, size=(96, 64)) -> bytes:
    """Each test has one of its own, so that no test has another's draft."""
    image = Image.new("RGB", size, (shade, 120, 160))
    ImageDraw.Draw(image).ellipse([size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2], fill=(240, 200, shade))
    return encode(image)


class FindingPool(TestPool):
    """Finds everything in the left half, but for a unicorn."""

    __test__ = False

    def _finish(self, task):
        if task.command != "preview":
            return super()._finish(task)
        words = str(task.options["region"])
        size = Image.open(io.BytesIO(task.images[0].media.data)).size
        mask = Image.new("L", size, 0)
        mask.paste(255, (0, 0, size[0] // 2, size[1]))
        found = RenderedImage(media=Media(encode(mask), "image/png"), width=size[0], height=size[1], parameters="")
        return TaskOutput(images=(found,), text=words if words == "unicorn" else None, revision="test", seconds=0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory, upgraded_data):
    """One server for all tests of this file, with a model that finds regions."""
    data_dir = tmp_path_factory.mktemp("edit")
    shutil.copytree(upgraded_data, data_dir, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "MODELS", (*web.MODELS, FIND))
        patch.setattr(web, "TestPool", FindingPool)
        async with web.open_easel(data_dir) as easel:
            await easel.serve()
            yield easel


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(server):
    async with web.open_client(server) as client:
        yield client


async def store(api, data: bytes) -> str:
    answer = await api.post("/api/v1/media", files={"file": ("photo.png", data, "image/png")})
    return answer.json()["id"]


class Editor:
    """The editor in a tab. Places on the picture are shares of its width and height."""

    def __init__(self, tab, server, api) -> None:
        self.tab, self.page, self._server, self._api = tab, tab.page, server, api
        self.status = tab.page.locator(".edit-mask-text")
        self.words = tab.page.locator("#edit-words")
        self.id = ""

    async def open(self, data: bytes) -> None:
        self.id = await store(self._api, data)
        await self.tab.open(self._server.url, f"/edit/{self.id}")
        await expect(self.status).to_contain_text("Nothing selected")

    async def find(self, x: float, y: float) -> tuple[float, float]:
        box = await self.page.get_by_alt_text("Picture being edited").bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    async def drag(self, *places: tuple[float, float]) -> None:
        first, *others = [await self.find(*place) for place in places]
        await self.page.mouse.move(*first)
        await self.page.mouse.down()
        for place in others:
            await self.page.mouse.move(*place, steps=4)
        await self.page.mouse.up()

    async def choose(self, radio: str) -> None:
        await self.page.get_by_role("radio", name=radio, exact=True).check(force=True)

    async def expect_share(self, percent: int) -> None:
        await expect(self.status).to_have_text(f"{percent} % of the picture will be repainted.")

    async def harden_edges(self) -> None:
        await self.page.get_by_label("Feather").fill("0")

    async def run(self, words: str) -> dict:
        """The job as the server has it."""
        await self.words.fill(words)
        async with self.page.expect_response(
            lambda got: got.url.endswith("/jobs") and got.request.method == "POST"
        ) as got:
            await self.page.get_by_role("button", name="Repaint", exact=True).click()
        accepted = await (await got.value).json()
        return (await self._api.get(f"/api/v1/jobs/{accepted['id']}")).json()

    async def read_mask(self, job: dict) -> numpy.ndarray:
        """The pixels of the mask that was sent, 255 where the picture is repainted."""
        mask = next(image for image in job["images"] if image["role"] == "mask")
        data = (await self._api.get(f"/api/v1/media/{mask['id']}")).content
        return numpy.asarray(Image.open(io.BytesIO(data)).convert("L"))


@pytest_asyncio.fixture(loop_scope="module")
async def editor(server, tab, api):
    return Editor(tab, server, api)


@pytest_asyncio.fixture(loop_scope="module")
async def phone_editor(server, phone, api):
    return Editor(phone, server, api)


async def test_what_is_painted_is_what_is_repainted(server, editor):
    await editor.open(photo(1))
    assert await measure_layout_shift(editor.page) < 0.02
    await editor.harden_edges()
    await editor.choose("Rectangle")
    await editor.drag((0.25, 0.25), (0.75, 0.5))
    await editor.choose("Eraser")
    await editor.drag((0.5, 0), (0.5, 1))

    job = await editor.run("a red hat")

    mask = await editor.read_mask(job)
    assert (job["command"], job["options"]["prompt"]) == ("imagine", "a red hat")
    assert [image["role"] for image in job["images"]] == ["init", "mask"]
    assert mask.shape == (64, 96)
    assert mask[17:31, 26:44].min() == mask[17:31, 52:70].min() == 255
    assert mask[:, 47:49].max() == mask[:14].max() == mask[34:].max() == mask[:, :22].max() == 0
    assert editor.tab.errors == []


async def test_brush_lasso_invert_and_clear_by_keys_with_undo_and_redo(server, editor):
    await editor.open(photo(2, (200, 200)))
    page = editor.page
    await page.keyboard.press("l")
    await expect(page.get_by_role("radio", name="Lasso")).to_be_checked()
    await editor.drag((0, 0), (1, 0), (1, 1))
    await editor.expect_share(50)
    await page.keyboard.press("i")
    await page.keyboard.press("x")
    await expect(editor.status).to_contain_text("Nothing selected")
    await page.keyboard.press("Control+z")
    await page.keyboard.press("Control+z")
    await editor.expect_share(50)

    await page.keyboard.press("b")
    for _ in range(4):
        await page.keyboard.press("]")
    await editor.drag((0.1, 0.9), (0.2, 0.9))

    await expect(editor.status).not_to_have_text("50 % of the picture will be repainted.")
    await page.keyboard.press("Control+z")
    await page.keyboard.press("Control+z")
    await expect(editor.status).to_contain_text("Nothing selected")
    await page.keyboard.press("Control+Shift+Z")
    await editor.expect_share(50)
    assert await find_violations(page) == []
    assert editor.tab.errors == []


async def test_keep_and_a_soft_edge(server, editor):
    await editor.open(photo(3, (200, 100)))
    await editor.choose("Rectangle")
    await editor.drag((0, 0), (0.5, 1))
    await editor.page.get_by_label("Feather").fill("20")

    await editor.choose("Keep, repaint the rest")

    await editor.expect_share(50)
    mask = await editor.read_mask(await editor.run("a wall"))
    row = mask[50].astype(int)
    assert (row[0], row[-1]) == (0, 255)
    assert (numpy.diff(row) >= 0).all()
    assert 100 < row[100] < 155
    assert 20 < ((row > 5) & (row < 250)).sum() < 80


async def test_without_a_pointer_by_numbers_by_file_and_by_words(server, editor):
    await editor.open(photo(4, (200, 100)))
    page = editor.page
    await page.get_by_text("Select by coordinates or file").click()
    for name, value in {"Left": "0", "Top": "0", "Width": "10", "Height": "100"}.items():
        await page.get_by_label(name, exact=True).fill(value)
    await page.get_by_label("Height", exact=True).press("Enter")
    await editor.expect_share(10)
    await page.get_by_label("Unit").select_option("px")
    await page.get_by_label("Left", exact=True).fill("180")
    await page.get_by_label("Width", exact=True).fill("20")
    await page.get_by_role("button", name="Add rectangle").press("Enter")
    await editor.expect_share(20)
    await page.get_by_label("Width", exact=True).fill("0")
    await page.get_by_role("button", name="Add rectangle").press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("be larger than 0")

    file = Image.new("L", (100, 50), 0)
    file.paste(255, (40, 0, 50, 50))
    await page.get_by_label("Mask file").set_input_files(
        {"name": "m.png", "mimeType": "image/png", "buffer": encode(file)}
    )
    await editor.expect_share(30)
    await page.get_by_label("Mask file").set_input_files(
        {"name": "n.png", "mimeType": "image/png", "buffer": encode(file.resize((50, 50)))}
    )
    await expect(page.get_by_role("alert").first).to_contain_text("The mask is 50×50 but the picture is 200×100")

    await page.get_by_label("Select by words").fill("unicorn")
    await page.get_by_role("button", name="Find").press("Enter")
    await expect(page.get_by_role("alert").first).to_contain_text("I can't see unicorn in this picture.")
    await page.get_by_label("Select by words").fill("the wall")
    await page.get_by_label("Select by words").press("Enter")
    await expect(page.locator(".edit-panel").get_by_text("Found: the wall.")).to_be_visible()
    await page.get_by_text("Mask parts (4)").click()
    await expect(page.locator(".edit-parts li").last).to_contain_text("the wall")
    assert await find_violations(page) == []
    await page.get_by_role("button", name="Remove part 4: the wall").press("Enter")
    await editor.expect_share(30)
    await expect(page.get_by_role("button", name="Remove part 3: m.png")).to_be_focused()
    assert editor.tab.errors == []


async def test_a_draft_survives_a_reload(server, editor):
    await editor.open(photo(5, (100, 100)))
    await editor.choose("Rectangle")
    await editor.drag((0, 0), (0.3, 1))
    await editor.words.fill("a blue door")

    await editor.page.reload()

    await editor.expect_share(30)
    await expect(editor.words).to_have_value("a blue door")
    await editor.page.get_by_role("button", name="Undo").click()
    await expect(editor.status).to_contain_text("Nothing selected")


async def test_a_result_is_compared_and_edited_on(server, editor):
    await editor.open(photo(6, (200, 100)))
    page, first = editor.page, editor.id
    await editor.choose("Rectangle")
    await editor.drag((0, 0), (0.5, 1))
    await editor.words.fill("slow grass")
    await expect(page.locator(".edit-price")).to_contain_text("device-seconds")
    made = await editor.run("slow grass")
    await expect(page.get_by_text("Step 2 of 5")).to_be_visible()
    preview = page.locator(".edit-preview")
    await expect(preview).to_be_visible()
    row = await preview.evaluate("(canvas) => [...canvas.getContext('2d').getImageData(0, 99, canvas.width, 1).data]")
    alphas = row[3::4]
    assert (alphas[len(alphas) // 4], alphas[len(alphas) * 3 // 4]) == (255, 0)
    assert await find_violations(page) == []
    server.pool.go_on.set()

    slider = page.get_by_role("slider", name="Before and after")
    await slider.press("ArrowRight")
    server.pool.go_on.clear()

    await expect(slider).to_have_attribute("aria-valuetext", "51 % before, 49 % after")
    assert await find_violations(page) == []
    await page.get_by_role("button", name="Continue with this").click()
    await expect(page.get_by_role("navigation", name="Versions").get_by_role("link")).to_have_count(2)
    await expect(editor.status).to_contain_text("Nothing selected")
    assert not page.url.endswith(first)
    await editor.drag((0, 0), (0.5, 1))
    assert (await editor.run("more grass"))["parent"] == made["id"]
    await expect(slider).to_be_visible()
    await page.get_by_role("button", name="Previous version").click()
    await page.wait_for_url(f"**/edit/{first}")
    await editor.expect_share(50)
    await expect(page.get_by_role("button", name="Next version")).to_be_enabled()
    assert await find_violations(page) == []
    assert editor.tab.errors == []


async def test_a_run_that_is_cancelled_or_fails_loses_nothing(server, editor):
    await editor.open(photo(7))
    page = editor.page
    await editor.choose("Rectangle")
    await page.get_by_role("button", name="Repaint", exact=True).click()
    await expect(page.get_by_role("alert")).to_have_text("Paint over the part to change.")
    await editor.drag((0, 0), (0.5, 1))
    await editor.run("slow moss")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_text("Cancelled. Your mask and prompt are unchanged.")).to_be_visible()

    await editor.run("fail moss")

    await expect(page.get_by_role("alert")).to_contain_text("Incident")
    await editor.expect_share(50)
    await expect(editor.words).to_have_value("fail moss")
    assert await find_violations(page) == []
    assert editor.tab.errors == []


async def test_an_edit_without_a_model_that_follows_instructions_says_how_it_was_made(server, editor):
    """The page believes in a model that has gone meanwhile."""

    async def add_model(route: Route) -> None:
        answer = await route.fetch()
        listed = await answer.json()
        follow = {**listed["models"][0], "name": "follow", "tasks": [INSTRUCTION], "default_for": [INSTRUCTION]}
        await route.fulfill(response=answer, json={**listed, "models": [*listed["models"], follow]})

    await editor.page.route("**/api/v1/models", add_model)
    await editor.open(photo(10))
    await expect(editor.status).to_have_text("Nothing selected. The whole picture may change.")
    await expect(editor.page.get_by_label("What to change")).to_be_visible()
    await editor.choose("Rectangle")
    await editor.drag((0, 0), (0.5, 1))

    job = await editor.run("make it red")

    assert job["command"] == "imagine"
    await expect(editor.page.locator(".edit-note")).to_contain_text("No model here edits by instruction")
    assert all("422" in error for error in editor.tab.errors)


async def test_a_handle_extends_the_picture(server, editor, api):
    await editor.open(photo(8, (100, 100)))
    page = editor.page
    await editor.choose("Extend the picture")
    handle = page.get_by_role("button", name="Extend: To the left")
    box = await handle.bounding_box()
    await page.mouse.move(box["x"] + 20, box["y"] + 20)
    await page.mouse.down()
    await page.mouse.move(box["x"] - 60, box["y"] + 20, steps=4)
    await page.mouse.up()
    await expect(editor.status).to_contain_text("to the left by half its width")
    await expect(handle).to_have_attribute("aria-pressed", "true")
    await expect(page.locator(".edit-price")).to_contain_text("device-seconds")
    assert await find_violations(page) == []
    await expect(page.get_by_role("button", name="Make it square")).to_be_disabled()
    await page.get_by_role("button", name="Zoom out 2×").press("Enter")

    async with page.expect_response("**/api/v1/jobs") as got:
        await page.keyboard.press("Control+Enter")

    accepted = await (await got.value).json()
    job = (await api.get(f"/api/v1/jobs/{accepted['id']}")).json()
    assert (job["command"], job["options"]["factor"]) == ("zoom", 2)
    await expect(page.get_by_role("slider", name="Before and after")).to_be_visible()
    assert editor.tab.errors == []


@pytest.mark.parametrize("media", ["0" * 64, "nonsense"])
async def test_a_dead_link_says_what_to_do(server, tab, media):
    await tab.open(server.url, f"/edit/{media}")

    await expect(tab.page.get_by_role("heading", name="This picture does not exist")).to_be_visible()
    await expect(tab.page.get_by_role("link", name="Choose from the gallery")).to_be_visible()
    assert await find_violations(tab.page) == []
    assert all("404" in error for error in tab.errors)


async def test_a_picture_that_could_not_be_read_is_opened_when_the_server_is_back(server, editor, api):
    media = await store(api, photo(16))
    lost = []

    async def lose(route: Route) -> None:
        lost.append(route.request.url)
        await route.abort()

    await editor.page.route(f"**/api/v1/media/{media}", lose, times=1)

    await editor.page.goto(f"{server.url}/edit/{media}")

    await expect(editor.status).to_contain_text("Nothing selected")
    assert len(lost) == 1


async def test_of_a_huge_picture_neither_the_view_nor_the_mask_is_huge(server, editor):
    requests = []
    editor.page.on("request", lambda request: requests.append(request.url))
    await editor.open(encode(Image.new("RGB", (4000, 3000), (9, 90, 9)), "JPEG"))
    await editor.choose("Rectangle")
    await editor.drag((0, 0), (0.5, 0.5))

    mask = await editor.read_mask(await editor.run("a lake"))

    assert mask.shape == (1536, 2048)
    assert mask[100, 100] == 255
    assert f"{editor.id}?w=1024" in " ".join(requests)
    assert editor.tab.errors == []


async def test_touch_paints_and_two_fingers_enlarge(server, phone_editor):
    editor, page = phone_editor, phone_editor.page
    await editor.open(photo(9, (100, 100)))
    assert await measure_layout_shift(page) < 0.02
    touch = await page.context.new_cdp_session(page)

    async def send(kind: str, *places: tuple[float, float]) -> None:
        points = [dict(zip("xy", await editor.find(*place), strict=True), id=n) for n, place in enumerate(places)]
        await touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    await page.get_by_role("radio", name="Brush").check(force=True)
    await send("touchStart", (0.2, 0.5))
    await send("touchMove", (0.5, 0.5))
    await send("touchMove", (0.8, 0.5))
    await send("touchEnd")
    await expect(editor.status).to_contain_text("of the picture will be repainted")
    text = await editor.status.inner_text()
    width = (await page.get_by_alt_text("Picture being edited").bounding_box())["width"]

    await send("touchStart", (0.4, 0.4))
    await send("touchStart", (0.4, 0.4), (0.6, 0.6))
    await send("touchMove", (0.3, 0.3), (0.7, 0.7))
    await send("touchEnd")

    assert (await page.get_by_alt_text("Picture being edited").bounding_box())["width"] > 1.2 * width
    await expect(editor.status).to_have_text(text)
    small = await page.locator(".edit button:visible, .edit label:has(input[type=radio]):visible").evaluate_all(
        "(all) => all.filter((one) => one.getBoundingClientRect().height < 44).map((one) => one.outerHTML)"
    )
    assert small == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    assert await find_violations(page) == []
    assert editor.tab.errors == []


async def test_a_pen_draws_wider_where_it_is_pressed(server, editor):
    await editor.open(photo(11, (400, 200)))
    await editor.harden_edges()
    await editor.page.get_by_role("slider", name="Size").fill("200")
    pen = await editor.page.context.new_cdp_session(editor.page)
    stroke = [("mousePressed", 0.2, 0.1), ("mouseMoved", 0.4, 0.1), ("mouseMoved", 0.7, 1), ("mouseMoved", 0.8, 1)]

    for kind, x, force in [*stroke, ("mouseReleased", 0.8, 1)]:
        place = dict(zip("xy", await editor.find(x, 0.5), strict=True))
        button = {"button": "left", "buttons": 1, "clickCount": 1}
        event = {"type": kind, **place, **button, "pointerType": "pen", "force": force}
        await pen.send("Input.dispatchMouseEvent", event)

    mask = await editor.read_mask(await editor.run("a road"))
    thin, wide = (int((mask[:, x] > 128).sum()) for x in (120, 300))
    assert 20 < thin < 45
    assert 75 < wide < 85


async def test_a_result_waits_while_somebody_paints_on(server, editor):
    await editor.open(photo(12, (200, 100)))
    page = editor.page
    await editor.choose("Rectangle")
    await editor.drag((0, 0), (0.5, 1))
    await editor.run("slow stones")
    await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    await editor.drag((0.5, 0), (0.6, 1))

    server.pool.go_on.set()
    await expect(page.get_by_role("button", name="Result 1")).to_be_visible()
    server.pool.go_on.clear()

    await editor.expect_share(60)
    await expect(page.get_by_role("slider", name="Before and after")).to_have_count(0)
    await page.get_by_role("button", name="Result 1").press("Enter")
    await expect(page.get_by_role("slider", name="Before and after")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_alt_text("Picture being edited")).to_be_visible()
    assert editor.tab.errors == []


SIZE = (640, 427)
EXTENSIONS: list[tuple[str, dict[str, Any]]] = [
    ("zoom", {"factor": 1.5}),
    ("zoom", {"factor": 2}),
    ("square", {}),
]
BOXES = {
    (0, 0, 128, 86): ((10, 20, 60, 50), SIZE, (512, 344)),
    (0, -2, 640, 428): ((0, 0, *SIZE), SIZE, (512, 344)),
    (0, -107, 640, 533): ((300, 5, 310, 420), SIZE, (64, 64)),
    (44, 0, 556, 512): ((200, 100, 400, 300), (2000, 1500), (512, 512)),
}
"""Of `inference.diffusion.inpainting.crop_box`, which cannot be imported without torch, with its arguments."""


def mask_files() -> list[bytes]:
    """Strokes on a clear ground, a picture with a hole, white on black."""
    noise = numpy.random.default_rng(1).integers(0, 256, (20, 40, 3), numpy.uint8)
    strokes, holes, light = (
        Image.new("RGBA", (40, 20)),
        Image.fromarray(noise).convert("RGBA"),
        Image.new("L", (40, 20)),
    )
    strokes.paste((20, 200, 40, 255), (0, 0, 10, 20))
    holes.paste((0, 0, 0, 0), (0, 0, 10, 20))
    light.paste(255, (0, 0, 10, 20))
    return [encode(image) for image in (strokes, holes, light)]


async def test_the_page_plans_and_reads_masks_as_the_server_does(server, editor):
    await editor.open(photo(13))
    extensions: list[tuple[str, dict[str, Any]]] = [*EXTENSIONS, *(("pan", {"direction": one}) for one in DIRECTIONS)]
    files = mask_files()
    urls = [f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in files]

    plans, boxes, masks = await editor.page.evaluate(
        """async ([[width, height], extensions, boxes, urls]) => {
          const edit = await import(`${document.documentElement.dataset.static}editor.js`);
          const read = async (src) => {
            const image = Object.assign(new Image(), { src });
            await image.decode();
            const mask = edit.readMask(image, 40, 20, "black").getContext("2d").getImageData(0, 0, 40, 20).data;
            return [...mask].filter((_value, index) => index % 4 === 3);
          };
          const plan = ([command, options]) => edit.planCanvas({ command, options }, { width, height });
          const find = (box) => edit.findComputedBox(...box);
          return [extensions.map(plan), boxes.map(find), await Promise.all(urls.map(read))];
        }""",
        [SIZE, extensions, list(BOXES.values()), urls],
    )

    for plan, (command, options) in zip(plans, extensions, strict=True):
        expected = asdict(plan_canvas(command, options, SIZE))
        assert [*plan.pop("picture")] == pytest.approx(expected.pop("picture"), abs=1)
        assert plan == pytest.approx(expected, abs=1)
    for (left, top, width, height), box in zip(boxes, BOXES, strict=True):
        assert (left, top, left + width, top + height) == pytest.approx(box, abs=1)
    for mask, data in zip(masks, files, strict=True):
        assert numpy.array(mask).reshape(20, 40) == pytest.approx(numpy.asarray(read_mask(data)), abs=2)


DROP = """([names, data]) => {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  const dropped = new DataTransfer();
  for (const name of names) dropped.items.add(new File([bytes], name, { type: "image/png" }));
  const event = { dataTransfer: dropped, bubbles: true, cancelable: true };
  return document.body.dispatchEvent(new DragEvent("drop", event));
}"""


async def test_a_dropped_picture_is_edited_next_and_thirty_are_not_taken(server, editor):
    await editor.open(photo(14))
    await editor.choose("Rectangle")
    await editor.drag((0, 0), (0.5, 1))
    await editor.expect_share(50)
    data = base64.b64encode(photo(15)).decode()

    await editor.page.evaluate(DROP, [[f"{n}.png" for n in range(30)], data])
    await expect(editor.page.locator(".toast")).to_contain_text("30 files were dropped")
    await editor.expect_share(50)
    await editor.page.evaluate(DROP, [["one.png"], data])

    await expect(editor.status).to_contain_text("Nothing selected")
    assert not editor.page.url.endswith(editor.id)
    await editor.page.go_back()
    await editor.expect_share(50)
    assert editor.tab.errors == []


DROP_LARGE = """([data, size]) => {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  const dropped = new DataTransfer();
  dropped.items.add(new File([bytes, new Uint8Array(size - bytes.length)], "large.png", { type: "image/png" }));
  return document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: dropped, bubbles: true, cancelable: true }));
}"""


async def test_a_large_dropped_picture_is_shrunk_before_it_is_sent(server, editor):
    await editor.open(photo(14))
    data = base64.b64encode(photo(15)).decode()

    await editor.page.evaluate(DROP_LARGE, [data, 12 * 2**20])

    await editor.page.wait_for_function("(id) => !location.pathname.endsWith(id)", arg=editor.id, timeout=30_000)
    await expect(editor.page.locator(".toast")).to_have_count(0)
    assert editor.tab.errors == []


async def test_a_mask_that_was_deleted_meanwhile_is_named(server, editor, api):
    await editor.open(photo(17, (200, 100)))
    page = editor.page
    await editor.choose("Rectangle")
    await editor.drag((0, 0), (0.1, 1))
    await page.get_by_label("Select by words").fill("the wall")
    await page.get_by_label("Select by words").press("Enter")
    await expect(page.get_by_text("Mask parts (2)")).to_be_visible()
    (job,) = (await api.get("/api/v1/jobs", params={"command": "preview", "limit": 1})).json()["jobs"]
    mask = job["result"]["media"][0]["id"]
    await page.route(f"**/api/v1/media/{mask}", lambda route: route.fulfill(status=404))

    await page.reload()

    await expect(page.get_by_role("alert")).to_contain_text("A mask in this draft no longer exists: the wall.")
    await editor.expect_share(10)
    await page.get_by_text("Mask parts (2)").click()
    await page.get_by_role("button", name="Remove part 2: the wall").click()
    await expect(page.get_by_role("alert")).to_have_count(0)
