"""Downloads from a hub on loopback, with everything that can go wrong on the way."""

import asyncio
import os
import signal
import sys
from contextlib import aclosing
from pathlib import Path

import numpy
import pytest
import safetensors.numpy

from bot.errors import DownloadFailed, StorageFull
from bot.ports import Transfer, Wanted
from bot.settings import hub_cache
from inference.hub import client, transfer
from inference.hub.client import HubDownloads, network_environment
from inference.ipc import messages
from inference.ipc.environment import clean_environment
from tests.hub.server import Fault, serving

WEIGHTS = bytes(range(256)) * 2048
"""Half a MiB."""
PIPELINE = {
    "model_index.json": b'{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}',
    "unet/config.json": b"{}",
    "unet/diffusion_pytorch_model.safetensors": WEIGHTS,
    "unet/diffusion_pytorch_model.fp16.safetensors": WEIGHTS[::2],
    "unet/diffusion_pytorch_model.bin": b"pickle",
    "all.safetensors": b"the same once more",
    "README.md": b"read me",
}
UNET = "unet/diffusion_pytorch_model.safetensors"
FOX = Wanted(repo="org/fox")


@pytest.fixture
def shop():
    with serving() as shop:
        shop.add("org/fox", PIPELINE, licence="apache-2.0")
        yield shop


@pytest.fixture
def downloads(shop, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    environ = {name: value for name, value in os.environ.items() if not name.casefold().endswith("_proxy")}
    environ |= {"HF_ENDPOINT": shop.url, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_ETAG_TIMEOUT": "3"}
    patience = messages.Patience(stall_s=0.5, tries=3, pause_s=0.01, most_s=0.2)
    return HubDownloads(environ=environ, patience=patience)


async def fetched(downloads, wanted=FOX):
    listing = await downloads.look(wanted)
    return listing, await pulled(downloads, listing)


async def pulled(downloads, listing):
    async with aclosing(downloads.fetch(listing)) as transfers:
        return [transfer async for transfer in transfers]


def snapshot(listing):
    return Path(listing.cache) / f"models--{listing.wanted.repo.replace('/', '--')}" / "snapshots" / listing.commit


def parts(listing):
    return list(Path(listing.cache).rglob("*.part"))


async def problem_of(work):
    with pytest.raises(DownloadFailed) as failed:
        await work
    return failed.value


# ---------------------------------------------------------------- the way it should go


async def test_a_pipeline_comes_with_its_commit_and_without_pickles(shop, downloads):
    listing, transfers = await fetched(downloads)

    assert (listing.kind, listing.licence, listing.commit) == (
        "StableDiffusionPipeline", "apache-2.0", shop.repos["org/fox"].commit,
    )  # fmt: skip
    assert listing.refused == ("unet/diffusion_pytorch_model.bin",)
    found = {path.relative_to(snapshot(listing)).as_posix() for path in snapshot(listing).rglob("*") if path.is_file()}
    assert found == {"model_index.json", "unet/config.json", UNET}
    assert (snapshot(listing) / UNET).read_bytes() == WEIGHTS
    assert transfers[-1].done == transfers[-1].total == listing.total
    assert {transfer.stage for transfer in transfers} <= {"downloading", "checking"}


async def test_what_is_here_is_not_fetched_again(shop, downloads):
    await fetched(downloads)
    before = dict(shop.sent)

    listing, transfers = await fetched(downloads)

    assert listing.missing == 0
    assert shop.sent == before
    assert transfers == []


async def test_the_variant_that_was_wanted_is_taken(downloads):
    listing, _ = await fetched(downloads, Wanted(repo="org/fox", variant="fp16"))

    assert listing.variant == "fp16"
    assert not (snapshot(listing) / UNET).exists()


async def test_a_push_while_it_comes_changes_nothing(shop, downloads):
    listing = await downloads.look(FOX)
    old = shop.repos["org/fox"]
    shop.add("org/fox", {**PIPELINE, UNET: b"another"})
    shop.repos["org/fox"].commit, shop.repos["org/fox"].files = old.commit, old.files

    async with aclosing(downloads.fetch(listing)) as transfers:
        async for _ in transfers:
            pass

    assert (snapshot(listing) / UNET).read_bytes() == WEIGHTS


async def test_the_library_finds_it_offline(downloads, monkeypatch):
    listing, _ = await fetched(downloads)
    offline = HubDownloads(environ=downloads.environ | {"HF_HUB_OFFLINE": "1"})

    assert [file.is_here for file in (await offline.look(FOX)).files] == [True] * 3
    assert (await problem_of(offline.look(Wanted(repo="org/owl")))).problem == "offline"
    assert listing.missing == listing.total - len(PIPELINE["model_index.json"])  # which was read to look


async def test_what_it_takes_on_the_disk_and_taking_it_away(downloads):
    listing, _ = await fetched(downloads)

    assert (await downloads.usage())["org/fox"] >= listing.total
    assert await downloads.remove("org/fox") >= listing.total
    assert await downloads.usage() == {}
    assert await downloads.remove("org/fox") == 0
    assert await downloads.remove("../../etc") == 0


async def test_a_whole_model_in_one_file_is_known_by_its_first_bytes(shop, downloads):
    first, words = "model.diffusion_model.input_blocks.0.0.weight", "input_blocks.1.1.transformer_blocks.0.attn2"
    whole = safetensors.numpy.save(
        {
            first: numpy.zeros((4, 4, 3, 3), numpy.float16),
            f"model.diffusion_model.{words}.to_k.weight": numpy.zeros((8, 768), numpy.float16),
        }
    )
    shop.add("org/whole", {"whole.safetensors": whole, "other.safetensors": b"no such file", "README.md": b"x"})

    listing, _ = await fetched(downloads, Wanted(repo="org/whole", file="whole.safetensors"))

    assert listing.kind == "StableDiffusionPipeline"
    assert [file.path for file in listing.files] == ["whole.safetensors"]
    assert (snapshot(listing) / "whole.safetensors").read_bytes() == whole
    broken = Wanted(repo="org/whole", file="other.safetensors")
    assert (await problem_of(downloads.look(broken))).problem == "no_file"


def test_no_time_is_told_before_it_is_known_how_fast_the_line_is(monkeypatch):
    now = [10.0]
    told: list[Transfer] = []
    monkeypatch.setattr(transfer.time, "monotonic", lambda: now[0])
    meter = transfer.Meter(1000, told.append)
    for seconds, count in ((0.0, 1), (0.5, 1), (0.6, 98), (0.5, 100)):
        now[0] += seconds
        meter.add(count)

    assert [(one.done, one.rate > 0, one.eta_s is None) for one in told] == [
        (1, False, True), (2, False, True), (100, True, False), (200, True, False),
    ]  # fmt: skip


async def test_the_largest_file_comes_first(shop, downloads):
    await fetched(downloads)

    asked = [one.path.rpartition("/")[2] for one in shop.asked if one.method == "GET" and "/resolve/" in one.path]
    assert asked.index("diffusion_pytorch_model.safetensors") < asked.index("config.json")


# ---------------------------------------------------------------- who may


async def test_a_closed_repo_says_what_to_do(shop, downloads):
    shop.repos["org/fox"].token, shop.repos["org/fox"].gated = "hf_right", True

    asked = await problem_of(downloads.look(FOX))
    assert (asked.problem, asked.url) == ("gated", f"{shop.url}/org/fox")

    wrong = HubDownloads("hf_wrong", downloads.environ)
    assert (await problem_of(wrong.look(FOX))).problem == "forbidden"

    listing, _ = await fetched(HubDownloads("hf_right", downloads.environ))
    assert listing.is_gated
    assert {one.token for one in shop.asked if one.path.endswith(UNET)} == {"hf_right"}


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (Wanted(repo="org/none"), "not_found"),
        (Wanted(repo="org/fox", revision="v9"), "no_revision"),
        (Wanted(repo="org/fox", file="none.safetensors"), "no_file"),
        (Wanted(repo="org/pickles"), "no_weights"),
        (Wanted(repo="org/text"), "no_model"),
        (Wanted(repo="org/two"), "which_file"),
    ],
)
async def test_what_cannot_be_had_is_told(shop, downloads, wanted, problem):
    shop.add("org/pickles", {"config.json": b'{"architectures": ["Blip2"]}', "pytorch_model.bin": b"x"})
    shop.add("org/text", {"README.md": b"x"})
    shop.add("org/two", {"a.safetensors": b"x", "b.safetensors": b"y"})

    assert (await problem_of(downloads.look(wanted))).problem == problem


async def test_nobody_there(downloads):
    gone = HubDownloads(environ=downloads.environ | {"HF_ENDPOINT": "http://me:secret@127.0.0.1:9"})

    error = await problem_of(gone.look(FOX))
    assert error.problem == "unreachable"
    assert "secret" not in error.url


# ---------------------------------------------------------------- what goes wrong on the way


async def test_a_reset_goes_on_where_it_broke_off(shop, downloads):
    shop.faults[UNET] = Fault("reset", times=2, after=200_000)

    listing, _ = await fetched(downloads)

    assert (snapshot(listing) / UNET).read_bytes() == WEIGHTS
    starts = [one.start for one in shop.gets(UNET)]
    assert len(starts) == 3
    assert starts == sorted(starts)
    assert starts[1] > 0
    assert shop.sent[UNET] < 1.6 * len(WEIGHTS)


async def test_a_stall_is_noticed_and_tried_again(shop, downloads):
    shop.faults[UNET] = Fault("stall", times=1, after=100_000)

    listing, _ = await fetched(downloads)

    assert (snapshot(listing) / UNET).read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("kind", "problem"), [("stall", "stalled"), ("reset", "broken"), ("503", "busy"), ("429", "busy")]
)
async def test_after_some_tries_it_is_given_up_and_what_came_stays(shop, downloads, kind, problem):
    listing = await downloads.look(FOX)
    shop.faults[UNET] = Fault(kind, times=99)

    error = await problem_of(pulled(downloads, listing))

    assert error.problem == problem
    shop.faults.clear()
    assert (await pulled(downloads, listing))[-1].done == listing.total


@pytest.mark.parametrize("status", ["500", "429"])
async def test_a_hub_that_stumbles_is_asked_again(shop, downloads, status):
    shop.faults[UNET] = Fault(status, times=2, methods=("GET", "HEAD"))

    listing, _ = await fetched(downloads)

    assert (snapshot(listing) / UNET).read_bytes() == WEIGHTS


async def test_a_wrong_hash_is_fetched_once_more(shop, downloads):
    shop.faults[UNET] = Fault("wrong", times=1)

    listing, _ = await fetched(downloads)

    assert (snapshot(listing) / UNET).read_bytes() == WEIGHTS
    assert len(shop.gets(UNET)) == 2


async def test_wrong_twice_is_no_model(shop, downloads):
    shop.faults[UNET] = Fault("wrong", times=9)

    error = await problem_of(fetched(downloads))

    assert (error.problem, error.detail) == ("damaged", UNET)
    listing = await downloads.look(FOX)
    assert not (snapshot(listing) / UNET).exists()
    assert not parts(listing)


@pytest.fixture
def started(monkeypatch):
    """The children started, as they come."""
    children, start = [], client.ChildProcess.start

    async def noted(*args, **more):
        children.append(await start(*args, **more))
        return children[-1]

    monkeypatch.setattr(client.ChildProcess, "start", noted)
    return children


async def test_a_killed_child_is_told_and_the_next_goes_on(shop, downloads, started):
    listing = await downloads.look(FOX)
    shop.slow_s = 0.05

    async def kill_in_the_middle():
        async with aclosing(downloads.fetch(listing)) as transfers:
            async for transfer in transfers:
                if transfer.done > 200_000:
                    os.kill(started[-1].pid, signal.SIGKILL)

    assert (await problem_of(kill_in_the_middle())).problem == "broken"

    shop.slow_s = 0.0
    await fetched(downloads)
    assert shop.gets(UNET)[-1].start > 0


async def test_leaving_ends_the_child_and_keeps_what_came(shop, downloads, started):
    listing = await downloads.look(FOX)
    shop.slow_s = 0.05
    async with aclosing(downloads.fetch(listing)) as transfers:
        async for transfer in transfers:
            if transfer.done > 100_000:
                break

    assert started[-1]._process.returncode is not None
    assert parts(listing)


async def test_one_repo_is_fetched_once_at_a_time(shop, downloads):
    listing = await downloads.look(FOX)
    shop.slow_s = 0.05
    async with aclosing(downloads.fetch(listing)) as transfers:
        await anext(transfers)
        assert (await problem_of(anext(downloads.fetch(listing)))).problem == "twice"


# ---------------------------------------------------------------- the disk


async def test_a_full_disk_is_told_before_anything_comes(downloads, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    listing = await downloads.look(FOX)
    monkeypatch.setattr(transfer, "free_bytes", lambda: 2**20)

    with pytest.raises(StorageFull) as full:
        transfer.fetch(listing, "", messages.Patience(), lambda _: None)
    assert full.value.need_mb >= 64


async def test_a_disk_that_fills_up_on_the_way_is_told_and_what_came_stays(tmp_path, shop):
    part = tmp_path / "part"
    stream = transfer._Stream(
        "org/fox", f"{shop.url}/org/fox/resolve/main/{UNET}", part, len(WEIGHTS),
        messages.Patience(stall_s=2, tries=2, pause_s=0.01), transfer.Meter(len(WEIGHTS), lambda _: None), {},
    )  # fmt: skip
    limit = 300_000
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises((StorageFull, OSError)):
            stream.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert part.stat().st_size <= limit


# ---------------------------------------------------------------- who sees what


def test_the_token_and_the_network_are_for_this_child_alone():
    environ = {
        "PATH": "/bin",
        "HF_ENDPOINT": "http://hub",
        "HTTPS_PROXY": "http://p",
        "HF_TOKEN": "hf_x",
        "MY_KEY": "k",
    }

    seen = network_environment(environ, "hf_y")
    assert (seen["HF_TOKEN"], seen["HF_ENDPOINT"], seen["HTTPS_PROXY"]) == ("hf_y", "http://hub", "http://p")
    assert "HF_HUB_OFFLINE" not in seen
    assert "MY_KEY" not in seen
    others = clean_environment(environ)
    assert others["HF_HUB_OFFLINE"] == "1"
    assert not {"HF_TOKEN", "HF_ENDPOINT", "HTTPS_PROXY"} & set(others)


def test_no_token_in_words(downloads):
    assert "hf_secret" not in repr(HubDownloads("hf_secret", downloads.environ))


async def test_the_child_imports_no_torch():
    heavy = "{'torch', 'transformers', 'diffusers'}"
    code = f"import sys, inference.hub.worker, inference.hub.transfer; print(sorted({heavy} & set(sys.modules)))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    said, _ = await process.communicate()

    assert said.strip() == b"[]"


def test_the_cache_is_where_the_variables_say(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))

    assert hub_cache() == tmp_path / "hub"

    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", str(tmp_path / "old"))
    assert hub_cache() == tmp_path / "old"
