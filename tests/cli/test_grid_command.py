"""`easel grid`: sheets, cells, confirmation and refusals, in this process and through a server."""

import asyncio
import json
from contextlib import suppress

import pytest
from PIL import Image

from adapters.cli.client.open import open_job_client
from adapters.cli.client.types import JobRequest
from adapters.cli.grid_jobs import find_job_or_grid, print_cancelled, run_grid
from adapters.cli.job_commands import parse_request
from bot.commands import Grid
from tests.cli.app_fixture import serving
from tests.cli.test_job_commands import MODES, server_if

GRID = ("grid", "a fox", "--x", "steps=2,3", "--y", "guidance=1,5")


@MODES
def test_a_grid_prints_the_path_of_its_sheet_once_it_is_confirmed(mode, call, data_dir, folder):
    with server_if(mode, data_dir):
        refused = call(*GRID)
        made = call(*GRID, "--yes", "--out", "sheet.png")

    assert refused.code == 2
    assert "The grid has 4 cells" in refused.err
    assert (made.code, made.out.split()) == (0, ["sheet.png"])
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.width > 128


def test_each_value_of_z_has_a_sheet_and_cells_are_written_on_request(call, folder):
    made = call("grid", "a fox", "--x", "steps=2,3", "--z", "guidance=1,5", "--yes", "--cells", "--out", "s.png")
    paths = made.out.split()

    assert paths[:2] == ["s-1.png", "s-2.png"]
    assert len(paths) == len(list(folder.iterdir())) == 6


def test_as_json_a_grid_is_its_batch_with_the_files(call):
    made = json.loads(call(*GRID, "--yes", "--json").out)

    assert [axis["option"] for axis in made["axes"]] == ["steps", "guidance_scale"]
    assert len(made["jobs"]) == len(made["cells"]) == 4
    assert len(made["files"]) == 1
    assert (made["error"], made["sheets"][0]["id"]) == (None, made["sheet"])


def test_sheets_are_fetched_again_by_the_id_of_the_grid(call, folder):
    made = json.loads(call(*GRID, "--yes", "--json").out)
    [path] = made["files"]
    data = (folder / path).read_bytes()
    (folder / path).unlink()
    again = call("fetch", made["batch"])

    assert again.out.split() == [path]
    assert (folder / path).read_bytes() == data


@MODES
def test_a_grid_is_shown_by_its_id_with_its_cells(mode, call, data_dir):
    with server_if(mode, data_dir):
        made = json.loads(call(*GRID, "--yes", "--json").out)
        shown, as_json = call("show", made["batch"]), json.loads(call("show", made["batch"], "--json").out)

    assert shown.code == 0
    assert "steps: 2, 3" in shown.out
    assert "4 of 4 cells have ended" in shown.out
    assert all(job["id"] in shown.out for job in made["jobs"])
    assert [cell["name"] for cell in as_json["cells"]] == ["a1", "b1", "a2", "b2"]


@MODES
def test_what_has_not_ended_of_a_grid_is_cancelled_by_its_id(mode, call, data_dir):
    with server_if(mode, data_dir):
        made = json.loads(call(*GRID, "--yes", "--json").out)
        again = call("cancel", made["batch"])
        of_nobody = call("cancel", "a" * 16)

    assert (again.code, of_nobody.code) == (1, 1)
    assert "can no longer be cancelled" in again.err
    assert "You have no job called" in of_nobody.err


async def test_a_grid_that_waits_is_cancelled_by_its_id(data_dir, composition, capsys):
    request = JobRequest(command="grid", options={"prompt": "slow fox", "x": "seed=1-4"}, images=())
    with serving(data_dir):
        async with open_job_client(composition, composition.load(None)) as client:
            quote = await client.quote_price(request)
            ids = await client.submit_jobs(request, quote.token)
            batch = str((await client.read_job(ids[0]))["batch"])
            _, grid = await find_job_or_grid(client, batch)
            assert grid is not None
            print_cancelled(grid, await client.cancel_batch(batch))
            ends = [[job["state"] async for job in client.follow_job(one)][-1] for one in ids]
            ended = await client.read_batch(batch)
            print_cancelled(ended, await client.cancel_batch(batch))

    printed = capsys.readouterr().out
    assert ends[-1] == "cancelled"
    assert f"Grid {batch} is cancelled." in printed
    assert f"Grid {batch} had already ended." in printed


def test_a_failed_cell_is_a_sentence_and_exit_code_1_beside_the_sheet(call):
    made = call("grid", "a fox", "--x", "prompt=fox,fail", "--yes", "--out", "sheet.png")

    assert (made.code, made.out.split()) == (1, ["sheet.png"])
    assert made.err.count("Something went wrong; you weren't charged.") == 1


def test_a_grid_without_any_picture_says_so(call):
    made = call("grid", "fail", "--x", "steps=2,3", "--yes")

    assert (made.code, made.out) == (1, "")
    assert "None of the grid's cells has a picture." in made.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--x", "steps=2,500"), "x, steps=500: steps is 500, but must be 1 to 150."),
        (("--x", "steps"), "--x is \u201csteps\u201d, but must be an option and its values"),
        (("--x", "steps=2,3", "--y", "steps=4"), "y changes \u201csteps\u201d, which another axis already changes"),
        ((), "A grid needs an axis"),
    ],
)
def test_what_cannot_be_a_grid_is_refused_with_a_sentence(call, data_dir, flags, words):
    result = call("grid", "a fox", *flags, "--yes")

    assert result.code != 0
    assert words in result.err


async def test_an_interrupted_grid_cancels_all_cells(data_dir, composition, folder):
    loaded = composition.load(None)
    options = {"prompt": ["slow fox"], "x": ["seed=1-4"]}
    parsed = parse_request(Grid, options, (), out=None, as_json=False, is_confirmed=True)
    with serving(data_dir):
        async with open_job_client(composition, loaded) as client:
            running = asyncio.create_task(run_grid(composition, loaded, parsed, {}))
            async with asyncio.timeout(30):
                while "running" not in await states_of(client):  # noqa: ASYNC110 - the server is polled
                    await asyncio.sleep(0.02)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            states = await states_of(client)

    assert states == ["cancelled"] * 4


async def states_of(client):
    return [job["state"] for job in (await client.list_jobs("", before=None, limit=10))[0]]
