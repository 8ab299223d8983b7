"""Grids over REST: quote, cells, sheets, cancelling, deleting, and what is refused."""

import asyncio
import io

import pytest
from PIL import Image

from tests.web.api_client import ask, make, problem, upload, wait_for
from tests.web.conftest import open_client, open_easel
from tests.web.fake_pool import picture
from tests.web.test_uploads import as_person

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEPS = {"option": "steps", "values": [2, 3]}
GUIDANCE = {"option": "guidance", "values": [1, 5]}


BLANK = (232, 232, 232)


def grid(prompt="a fox", images=(), **options):
    return {"command": "grid", "options": {"prompt": prompt, "x": STEPS, **options}, "images": list(images)}


async def submit(client, body):
    quote = (await client.post("/api/v1/quotes", json=body)).json()["quote"]
    return await ask(client, {**body, "quote": quote})


async def finish(client, body):
    """The batch once all of its jobs have ended."""
    accepted = await submit(client, body)
    for job in accepted["jobs"]:
        await wait_for(client, job["id"])
    return await batch_of(client, accepted)


async def batch_of(client, accepted):
    return (await client.get(f"/api/v1/batches/{accepted['batch']}")).json()


async def open_sheet(client, sheet):
    answer = await client.get(sheet["url"])
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def count_pixels(image, color):
    return {found: count for count, found in image.convert("RGB").getcolors(maxcolors=100_000)}.get(color, 0)


async def refused(client, body):
    return problem(await client.post("/api/v1/quotes", json=body), 422, "invalid_option")


@pytest.fixture
def client(shared_client):
    return shared_client


async def test_a_grid_needs_its_quote_and_is_accepted_as_one_batch_without_a_sheet_yet(client):
    body = grid(y=GUIDANCE, seed=7)
    unconfirmed = problem(await client.post("/api/v1/jobs", json=body), 422, "invalid_option")
    quote = (await client.post("/api/v1/quotes", json=body)).json()
    answer = await client.post("/api/v1/jobs", json={**body, "quote": quote["quote"]})
    accepted = answer.json()

    assert unconfirmed["option"] == "quote"
    assert "4 cells" in unconfirmed["detail"]
    assert (answer.status_code, quote["jobs"], len(accepted["jobs"])) == (202, 4, 4)
    assert quote["cost"] == pytest.approx(sum(job["cost"] for job in accepted["jobs"]), abs=0.01)
    assert len({job["cost"] for job in accepted["jobs"]}) == 2  # of two numbers of steps
    assert (accepted["sheet"], accepted["sheets"]) == (None, [])
    assert answer.headers["location"] == f"/api/v1/batches/{accepted['batch']}"
    again = (await client.post("/api/v1/jobs", json={**body, "quote": quote["quote"]})).json()
    assert [job["id"] for job in again["jobs"]] == [job["id"] for job in accepted["jobs"]]


async def test_cells_are_jobs_of_imagine_with_every_combination_and_one_seed(client):
    batch = await finish(client, grid(y=GUIDANCE, negative_prompt="rain"))
    options = {job["id"]: job["options"] for job in batch["jobs"]}
    made = [(cell["x"], cell["y"], cell["z"], options[cell["job"]]) for cell in batch["cells"]]

    assert batch["kind"] == "grid"
    assert {job["command"] for job in batch["jobs"]} == {"imagine"}
    assert [(x, y, z) for x, y, z, _ in made] == [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)]
    assert [(one["steps"], one["guidance_scale"]) for *_, one in made] == [(2, 1.0), (3, 1.0), (2, 5.0), (3, 5.0)]
    assert len({one["seed"] for *_, one in made}) == 1
    assert {one["negative_prompt"] for *_, one in made} == {"rain"}
    assert [(one["axis"], one["option"], one["title"], one["labels"]) for one in batch["axes"]] == [
        ("x", "steps", "steps", ["2", "3"]),
        ("y", "guidance_scale", "guidance", ["1", "5"]),
    ]


async def test_the_sheet_shows_every_cell_is_marked_as_generated_and_says_what_it_shows(client):
    batch = await finish(client, grid(x={"option": "seed", "values": [1, 2]}, y=GUIDANCE))
    [sheet] = batch["sheets"]
    image = await open_sheet(client, sheet)
    colors = image.convert("RGB").getcolors(maxcolors=100_000)
    shown = {color for _, color in colors}

    assert batch["sheet"] == sheet["id"]
    assert (sheet["media_type"], sheet["width"], sheet["height"]) == ("image/png", *image.size)
    assert {Image.open(io.BytesIO(picture(seed, 64, 64))).getpixel((0, 0)) for seed in (1, 2)} <= shown
    assert sheet["alt"] == "Grid of pictures: a fox. Columns: seed: 1, 2. Rows: guidance: 1, 5."
    assert 'Script: X/Y/Z plot, X Type: seed, X Values: "1, 2"' in image.text["parameters"]
    assert "trainedAlgorithmicMedia" in str(image.info)


async def test_each_value_of_the_third_axis_has_a_sheet_of_its_own(client):
    batch = await finish(client, grid(z={"option": "sampler", "values": ["euler", "ddim"]}))
    first, second = batch["sheets"]

    assert [first["z"], second["z"]] == [0, 1]
    assert first["id"] != second["id"]
    assert second["alt"].endswith("This sheet: sampler: ddim.")
    assert (await client.get(second["url"])).status_code == 200


async def test_an_axis_may_be_written_as_text(client):
    batch = await finish(client, grid(x="steps=2-4:2", y='prompt=fox,"cat, grey"'))

    assert [one["values"] for one in batch["axes"]] == [[2, 4], ["fox", "cat, grey"]]
    assert [job["options"]["prompt"] for job in batch["jobs"]] == ["a fox"] * 2 + ["a cat, grey"] * 2


async def test_a_control_is_weighed_and_left_out_at_0(client, a_picture):
    image = await upload(client, a_picture)
    control = {"id": image["id"], "role": "control", "kind": "canny", "ready": True}
    batch = await finish(client, grid(x={"option": "control:canny", "values": [0, 0.5]}, images=[control]))

    assert [[image["weight"] for image in job["images"]] for job in batch["jobs"]] == [[], [0.5]]


async def test_a_failed_and_a_blocked_cell_are_blank_and_the_others_stay(client):
    batch = await finish(client, grid(x="prompt=fox,fail,nan"))
    states = [job["state"] for job in batch["jobs"]]

    assert states == ["delivered", "failed", "failed"]
    [sheet] = batch["sheets"]
    assert count_pixels(await open_sheet(client, sheet), BLANK) > 2 * 64 * 64


async def test_a_grid_without_any_picture_has_no_sheet(client):
    batch = await finish(client, grid("fail"))

    assert (batch["sheet"], batch["sheets"]) == (None, [])
    assert {job["state"] for job in batch["jobs"]} == {"failed"}


async def test_cancelling_a_grid_cancels_what_has_not_ended(client, shared_server):
    shared_server.pool.go_on.clear()
    accepted = await submit(client, grid("slow fox", x="seed=1-5"))
    await wait_for(client, accepted["id"], "running")
    answer = await client.delete(f"/api/v1/batches/{accepted['batch']}")
    states = [(await wait_for(client, job["id"]))["state"] for job in accepted["jobs"]]

    assert answer.status_code == 202
    assert answer.json()["batch"] == accepted["batch"]
    assert set(states) == {"cancelled"}
    shared_server.pool.go_on.set()


async def test_a_grid_that_has_ended_cannot_be_cancelled(client):
    batch = await finish(client, grid())

    problem(await client.delete(f"/api/v1/batches/{batch['batch']}"), 409, "not_cancellable")


async def test_a_deleted_cell_leaves_the_sheet_and_its_words_leave_the_axes(client):
    batch = await finish(client, grid(x="prompt=fox,cat,dog"))
    before, gone = batch["sheet"], batch["jobs"][1]["id"]
    await client.delete(f"/api/v1/jobs/{gone}", params={"erase": "true"})
    after = await batch_of(client, batch)

    assert after["sheet"] not in (before, None)
    problem(await client.get(f"/api/v1/media/{before}"), 404, "not_found")
    assert [cell["job"] is None for cell in after["cells"]] == [False, True, False]
    assert after["axes"][0]["values"] == ["fox", None, "dog"]
    assert "cat" not in after["sheets"][0]["alt"]
    for job in after["jobs"]:
        await client.delete(f"/api/v1/jobs/{job['id']}", params={"erase": "true"})
    problem(await client.get(f"/api/v1/batches/{batch['batch']}"), 404, "not_found")
    problem(await client.get(f"/api/v1/media/{after['sheet']}"), 404, "not_found")


async def test_a_deleted_picture_of_a_cell_is_replaced_on_the_sheet_by_its_next(client):
    batch = await finish(client, grid(count=2, x={"option": "steps", "values": [2]}))
    await client.delete(f"/api/v1/jobs/{batch['jobs'][0]['id']}/pictures/1")
    after = await batch_of(client, batch)

    problem(await client.get(f"/api/v1/media/{batch['sheet']}"), 404, "not_found")
    assert after["sheet"] not in (batch["sheet"], None)


async def test_a_cell_is_repeated_alone_by_its_recipe(client):
    batch = await finish(client, grid(y=GUIDANCE))
    last = batch["jobs"][-1]
    recipe = (await client.get(f"/api/v1/jobs/{last['id']}/recipe")).json()
    again = await make(client, {"command": recipe["command"], "options": recipe["all"]})

    assert recipe["command"] == "imagine"
    assert again["batch"] is None
    assert again["result"]["media"][0]["id"] == last["result"]["media"][0]["id"]
    assert again["options"] == last["options"]


async def test_the_stream_tells_of_a_sheet_as_a_change_of_the_last_job(client, shared_server):
    accepted = await submit(client, grid())
    for job in accepted["jobs"]:
        await wait_for(client, job["id"])
    person = await shared_server.usecases.people.local_person()
    before = await shared_server.storage.changes.last_change(person.id)
    await batch_of(client, accepted)
    [change] = await shared_server.storage.changes.list_changes(person.id, before, 10)

    assert change.job.id == accepted["jobs"][-1]["id"]


async def test_nobody_reaches_somebody_elses_grid_or_sheet(easel):
    ann, ben = await easel.create_key("ann"), await easel.create_key("ben")
    await easel.serve()
    async with open_client(easel) as client:
        as_person(client, ann)
        batch = await finish(client, grid())
        as_person(client, ben)
        answers = [await client.request(method, f"/api/v1/batches/{batch['batch']}") for method in ("GET", "DELETE")]
        answers.append(await client.get(f"/api/v1/media/{batch['sheet']}"))

    for answer in answers:
        problem(answer, 404, "not_found")


async def test_one_picture_behind_a_spoiler_puts_the_whole_sheet_behind_it_and_a_blocked_one_is_blank(tmp_path):
    async with open_easel(tmp_path, local_policy="spoiler") as easel:
        await easel.serve()
        async with open_client(easel) as client:
            hidden = await finish(client, grid(x="prompt=fox,nude"))
            shown = await finish(client, grid(x="prompt=fox,cat"))
    async with open_easel(tmp_path, local_policy="block") as easel:
        await easel.serve()
        async with open_client(easel) as client:
            blocked = await finish(client, grid(x="prompt=fox,nude"))

    assert [batch["sheets"][0]["spoiler"] for batch in (hidden, shown, blocked)] == [True, False, False]
    assert blocked["jobs"][1]["error"]["code"] == "blocked"


@pytest.mark.parametrize(
    ("options", "option", "words"),
    [
        ({"x": {"option": "steps", "values": [2, 500]}}, "x", "steps=500: steps is 500"),
        ({"x": {"option": "steps", "values": [2, 60]}}, "x", "steps=60: steps is 60, but must be 1 to 50"),
        ({"x": {"option": "stepz", "values": [2]}}, "x", "Did you mean steps?"),
        ({"x": "steps=2,2"}, "x", "twice"),
        ({"x": "steps"}, "x", "such as steps=4,8"),
        ({"x": "steps="}, "x", "no values"),
        ({"x": {"option": "steps"}}, "x", "or a text such as"),
        ({"y": "steps=4,5"}, "y", "another axis"),
        ({"steps": 4}, "steps", "give it once"),
        ({"x": "prompt=cat,dog"}, "x", "\u201ccat\u201d, which is not in it"),
        ({"x": "control:canny=0.5,1"}, "x", "no such control"),
        ({"x": "lora:none=0.5,1"}, "x", "lora:none=0.5: There is no LoRA"),
        ({"x": "model=paint,nothing"}, "x", "model=nothing"),
        ({"x": "model=paint,look"}, "x", "model=look"),
        ({"x": "sampler=euler,heun"}, "x", "sampler=heun"),
        ({"x": "seed=1-21"}, "grid", "21 cells; the limit is 20"),
        ({"x": "seed=1-101"}, "x", "101 cells; the limit is 100"),
        ({"x": None}, "x", "A grid needs an axis"),
        ({"prompt": "a {red|blue} fox"}, "prompt", "{a|b}"),
    ],
)
async def test_what_cannot_be_a_grid_is_refused_with_its_axis_and_value(client, options, option, words):
    said = await refused(client, grid(**options))

    assert said["option"] == option
    assert words in said["detail"]


async def test_the_registry_says_what_a_grid_takes(client):
    commands = (await client.get("/api/v1/commands")).json()["commands"]
    [found] = [one for one in commands if one["name"] == "grid"]
    axes = [option for option in found["options"] if option["type"] == "axis"]

    assert [one["name"] for one in axes] == ["x", "y", "z"]
    assert {"steps", "prompt", "model", "sampler", "lora:NAME", "control:KIND"} <= set(axes[0]["axis_options"])
    assert "paint" in found["models"]


async def test_a_grid_that_ended_while_the_server_was_down_has_its_sheet_after_the_start(easel):
    await easel.serve()
    async with open_client(easel) as client:
        accepted = await submit(client, grid())
        for job in accepted["jobs"]:
            await wait_for(client, job["id"])
    assert await easel.storage.batches.list_due() == [accepted["batch"]]

    composing = asyncio.create_task(easel.usecases.grids.run_forever())
    async with asyncio.timeout(10):
        while await easel.storage.batches.list_due():  # noqa: ASYNC110 - the storage is polled
            await asyncio.sleep(0.01)
    composing.cancel()

    assert (await easel.storage.batches.get_batch(accepted["batch"], None)).sheets


async def test_the_sheet_so_far_is_drawn_of_what_there_is_and_not_kept(easel):
    await easel.serve()
    async with open_client(easel) as client:
        accepted = await submit(client, grid("slow fox", width=128, height=128, x="seed=1-16"))
        easel.pool.go_on.set()
        for job in accepted["jobs"][:3]:
            await wait_for(client, job["id"])
    person = await easel.usecases.people.local_person()
    [drawn] = await easel.usecases.grids.draw_so_far(person.id, accepted["batch"])

    assert len(drawn.pictures) >= 3
    assert drawn.width * drawn.height < 1_500_000
    assert (await easel.storage.batches.get_batch(accepted["batch"], None)).sheets == ()
