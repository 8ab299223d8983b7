"""Downloads from a hub on loopback, with injected faults."""

import asyncio
import os
import signal
import sys
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import safetensors.numpy

from bot.errors import DownloadFailed, StorageFull
from bot.model_install.installer import required_repos
from bot.ports import DownloadProgress, RepoRef
from bot.settings import hub_cache_dir
from inference.hub import client, transfer
from inference.hub.client import HubClient, network_environment
from inference.ipc import messages
from inference.ipc.environment import clean_environment
from tests.hub.server import Fault, serve_hub
from tests.inference.gguf_files import header_bytes
from tests.inference.support import make_model

pytestmark = pytest.mark.usefixtures("forked_workers")

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
FOX = RepoRef(repo="org/fox")


@pytest.fixture
def hub():
    with serve_hub() as hub:
        hub.add("org/fox", PIPELINE, licence="apache-2.0")
        yield hub


@pytest.fixture
def downloads(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    environ = {name: value for name, value in os.environ.items() if not name.casefold().endswith("_proxy")}
    environ |= {"HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_ETAG_TIMEOUT": "3"}
    retry_policy = messages.RetryPolicy(stall_timeout_s=30, max_attempts=3, backoff_s=0.01, max_backoff_s=0.2)
    return HubClient(environ=environ, retry_policy=retry_policy)


async def download_repo(downloads, wanted=FOX):
    listing = await downloads.inspect_repo(wanted)
    return listing, await download_listing(downloads, listing)


async def download_listing(downloads, listing):
    async with aclosing(downloads.download(listing)) as transfers:
        return [transfer async for transfer in transfers]


def snapshot(listing):
    return Path(listing.cache) / f"models--{listing.ref.repo.replace('/', '--')}" / "snapshots" / listing.commit


def partial_files(listing):
    return list(Path(listing.cache).rglob("*.part"))


async def problem_of(work):
    with pytest.raises(DownloadFailed) as failed:
        await work
    return failed.value


# ---------------------------------------------------------------- normal operation


async def test_a_pipeline_comes_with_its_commit_and_without_pickles(hub, downloads):
    listing, transfers = await download_repo(downloads)

    assert (listing.class_name, listing.licence, listing.commit) == (
        "StableDiffusionPipeline", "apache-2.0", hub.repos["org/fox"].commit,
    )  # fmt: skip
    assert listing.rejected_files == ("unet/diffusion_pytorch_model.bin",)
    found = {path.relative_to(snapshot(listing)).as_posix() for path in snapshot(listing).rglob("*") if path.is_file()}
    assert found == {"model_index.json", "unet/config.json", UNET}
    assert (snapshot(listing) / UNET).read_bytes() == WEIGHTS
    assert transfers[-1].done == transfers[-1].total == listing.total_bytes
    assert {transfer.stage for transfer in transfers} <= {"downloading", "checking"}


async def test_cached_files_are_not_downloaded_again(hub, downloads):
    await download_repo(downloads)
    before = dict(hub.bytes_sent)

    listing, transfers = await download_repo(downloads)

    assert listing.missing_bytes == 0
    assert hub.bytes_sent == before
    assert transfers == []


async def test_the_requested_variant_is_downloaded(downloads):
    listing, _ = await download_repo(downloads, RepoRef(repo="org/fox", variant="fp16"))

    assert listing.variant == "fp16"
    assert not (snapshot(listing) / UNET).exists()


async def test_a_push_during_the_download_has_no_effect(hub, downloads):
    listing = await downloads.inspect_repo(FOX)
    old = hub.repos["org/fox"]
    hub.add("org/fox", {**PIPELINE, UNET: b"another"})
    hub.repos["org/fox"].commit, hub.repos["org/fox"].files = old.commit, old.files

    async with aclosing(downloads.download(listing)) as transfers:
        async for _ in transfers:
            pass

    assert (snapshot(listing) / UNET).read_bytes() == WEIGHTS


async def test_the_library_finds_it_offline(downloads, monkeypatch):
    listing, _ = await download_repo(downloads)
    offline = HubClient(environ=downloads.environ | {"HF_HUB_OFFLINE": "1"})

    assert [file.is_cached for file in (await offline.inspect_repo(FOX)).files] == [True] * 3
    assert (await problem_of(offline.inspect_repo(RepoRef(repo="org/owl")))).problem == "offline"
    assert listing.missing_bytes == listing.total_bytes - len(PIPELINE["model_index.json"])  # which was read to look


async def test_disk_usage_and_deletion(downloads):
    listing, _ = await download_repo(downloads)

    assert (await downloads.disk_usage())["org/fox"] >= listing.total_bytes
    assert await downloads.delete_repo("org/fox") >= listing.total_bytes
    assert await downloads.disk_usage() == {}
    assert await downloads.delete_repo("org/fox") == 0
    assert await downloads.delete_repo("../../etc") == 0


async def test_a_complete_model_in_one_file_is_identified_by_its_header(hub, downloads):
    first, words = "model.diffusion_model.input_blocks.0.0.weight", "input_blocks.1.1.transformer_blocks.0.attn2"
    model = safetensors.numpy.save(
        {
            first: numpy.zeros((4, 4, 3, 3), numpy.float16),
            f"model.diffusion_model.{words}.to_k.weight": numpy.zeros((8, 768), numpy.float16),
            "cond_stage_model.x": numpy.zeros(1, numpy.float16),
            "first_stage_model.x": numpy.zeros(1, numpy.float16),
        }
    )
    hub.add("org/whole", {"model.safetensors": model, "other.safetensors": b"no such file", "README.md": b"x"})

    listing, _ = await download_repo(downloads, RepoRef(repo="org/whole", file="model.safetensors"))

    assert listing.class_name == "StableDiffusionPipeline"
    assert [file.path for file in listing.files] == ["model.safetensors"]
    assert (snapshot(listing) / "model.safetensors").read_bytes() == model
    broken = RepoRef(repo="org/whole", file="other.safetensors")
    assert (await problem_of(downloads.inspect_repo(broken))).problem == "no_file"


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 90_000,
        b"[]",
        b'{"a":{}}',
        b'{"a":{"dtype":"F32","shape":["x"],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[[]],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[-1,768],"data_offsets":[0,4]}}',
    ],
)
async def test_a_file_of_a_repo_with_a_hostile_header_is_refused(hub, downloads, header):
    hub.add("org/whole", {"model.safetensors": len(header).to_bytes(8, "little") + header})

    listed = downloads.inspect_repo(RepoRef(repo="org/whole", file="model.safetensors"))

    assert (await problem_of(listed)).problem == "no_file"


def test_no_remaining_time_is_reported_before_the_rate_is_known(monkeypatch):
    now = [10.0]
    reports: list[DownloadProgress] = []
    monkeypatch.setattr(transfer.time, "monotonic", lambda: now[0])
    meter = transfer.ProgressMeter(1000, reports.append)
    for seconds, count in ((0.0, 1), (0.5, 1), (0.6, 98), (0.5, 100)):
        now[0] += seconds
        meter.add(count)

    assert [(one.done, one.rate > 0, one.eta_s is None) for one in reports] == [
        (1, False, True), (2, False, True), (100, True, False), (200, True, False),
    ]  # fmt: skip


async def test_the_largest_file_comes_first(hub, downloads):
    index = b'{"_class_name": "StableDiffusionPipeline", "unet": ["a", "b"], "vae": ["a", "b"]}'
    hub.add("org/fox", {**PIPELINE, "model_index.json": index, "vae/config.json": b'{"a": 1}'})
    await download_repo(downloads)

    requested = [one.path.rpartition("/")[2] for one in hub.requests if one.method == "GET" and "/resolve/" in one.path]
    assert requested.index("diffusion_pytorch_model.safetensors") < len(requested) - 1


# ---------------------------------------------------------------- quantized denoisers


GGUF_FILES = {
    "z-Q4_K.gguf": header_bytes({"layers.0.adaLN_modulation.0.weight": [128, 32]}),
    "llama.gguf": header_bytes({"blk.0.attn_q.weight": [32, 32]}, "llama"),
    "damaged.gguf": b"GGUF",
}


async def test_a_gguf_file_is_recognised_by_its_first_bytes_and_downloaded_alone(hub, downloads):
    hub.add("org/quants", GGUF_FILES)

    listing, _ = await download_repo(downloads, RepoRef(repo="org/quants", file="z-Q4_K.gguf"))

    assert (listing.class_name, listing.base_model) == ("ZImagePipeline", "Tongyi-MAI/Z-Image-Turbo")
    assert [file.path for file in listing.files] == ["z-Q4_K.gguf"]
    assert (snapshot(listing) / "z-Q4_K.gguf").read_bytes() == GGUF_FILES["z-Q4_K.gguf"]


@pytest.mark.parametrize(
    ("file", "problem", "words"),
    [
        ("", "which_gguf", "llama.gguf"),
        ("llama.gguf", "unknown_gguf", "architecture llama"),
        ("damaged.gguf", "no_file", "damaged.gguf"),
    ],
)
async def test_gguf_files_that_cannot_be_used_are_not_downloaded(hub, downloads, file, problem, words):
    hub.add("org/quants", GGUF_FILES)

    refused = await problem_of(downloads.inspect_repo(RepoRef(repo="org/quants", file=file)))

    assert refused.problem == problem
    assert words in refused.detail


async def test_of_a_base_model_the_denoisers_weights_are_not_downloaded(downloads):
    listing = await downloads.inspect_repo(RepoRef(repo="org/fox", without_denoiser=True))

    assert [file.path for file in listing.files] == ["model_index.json", "unet/config.json"]


async def test_a_repo_in_svdquant_is_recognised_by_its_config(hub, downloads):
    config = b'{"quantization_config": {"quant_method": "nunchaku_lite", "svdq_w4a4": {"precision": "nvfp4"}}}'
    hub.add("org/fox", {**PIPELINE, "unet/config.json": config})

    listing = await downloads.inspect_repo(FOX)

    assert (listing.prequantized, listing.precision) == ("svdquant", "nvfp4")


async def test_kernels_need_their_library(downloads):
    refused = await problem_of(downloads.inspect_repo(RepoRef(repo="org/kernels", is_kernel=True)))

    assert refused.problem == "no_kernels_library"


# ---------------------------------------------------------------- access


async def test_a_gated_repo_reports_what_to_do(hub, downloads):
    hub.repos["org/fox"].token, hub.repos["org/fox"].gated = "hf_right", True

    refused = await problem_of(downloads.inspect_repo(FOX))
    assert (refused.problem, refused.url) == ("gated", f"{hub.url}/org/fox")

    wrong = HubClient("hf_wrong", downloads.environ)
    assert (await problem_of(wrong.inspect_repo(FOX))).problem == "forbidden"

    listing, _ = await download_repo(HubClient("hf_right", downloads.environ))
    assert listing.is_gated
    assert {one.token for one in hub.requests if one.path.endswith(UNET)} == {"hf_right"}


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (RepoRef(repo="org/none"), "not_found"),
        (RepoRef(repo="org/fox", revision="v9"), "no_revision"),
        (RepoRef(repo="org/fox", file="none.safetensors"), "no_file"),
        (RepoRef(repo="org/pickles"), "no_weights"),
        (RepoRef(repo="org/text"), "no_model"),
        (RepoRef(repo="org/two"), "which_file"),
        (required_repos(make_model(repo="org/fox", loras=("org/two",)))[1], "which_lora"),
    ],
)
async def test_an_unavailable_model_is_reported_with_the_reason(hub, downloads, wanted, problem):
    hub.add("org/pickles", {"config.json": b'{"architectures": ["Blip2"]}', "pytorch_model.bin": b"x"})
    hub.add("org/text", {"README.md": b"x"})
    hub.add("org/two", {"a.safetensors": b"x", "b.safetensors": b"y"})

    assert (await problem_of(downloads.inspect_repo(wanted))).problem == problem


async def test_an_unreachable_hub_is_reported(downloads):
    gone = HubClient(environ=downloads.environ | {"HF_ENDPOINT": "http://me:secret@127.0.0.1:9"})

    error = await problem_of(gone.inspect_repo(FOX))
    assert error.problem == "unreachable"
    assert "secret" not in error.url


# ---------------------------------------------------------------- faults


async def test_a_reset_connection_is_resumed_where_it_was_interrupted(hub, downloads):
    hub.faults[UNET] = Fault("reset", times=2, after=200_000)

    listing, _ = await download_repo(downloads)

    assert (snapshot(listing) / UNET).read_bytes() == WEIGHTS
    starts = [one.start for one in hub.get_requests(UNET)]
    assert len(starts) == 3
    assert starts == sorted(starts)
    assert starts[1] > 0
    assert hub.bytes_sent[UNET] < 1.6 * len(WEIGHTS)


async def test_a_stalled_download_is_retried(hub, downloads):
    downloads.retry_policy = replace(downloads.retry_policy, stall_timeout_s=0.5)
    hub.faults[UNET] = Fault("stall", times=1, after=100_000)

    listing, _ = await download_repo(downloads)

    assert (snapshot(listing) / UNET).read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("kind", "problem"), [("stall", "stalled"), ("reset", "broken"), ("503", "busy"), ("429", "busy")]
)
async def test_after_the_last_attempt_the_download_fails_and_its_partial_files_are_kept(hub, downloads, kind, problem):
    if kind == "stall":
        downloads.retry_policy = replace(downloads.retry_policy, stall_timeout_s=0.5)
    listing = await downloads.inspect_repo(FOX)
    hub.faults[UNET] = Fault(kind, times=99)

    error = await problem_of(download_listing(downloads, listing))

    assert error.problem == problem
    hub.faults.clear()
    assert (await download_listing(downloads, listing))[-1].done == listing.total_bytes


@pytest.mark.parametrize("status", ["500", "429"])
async def test_a_request_is_repeated_after_a_transient_error(hub, downloads, status):
    hub.faults[UNET] = Fault(status, times=2, methods=("GET", "HEAD"))

    listing, _ = await download_repo(downloads)

    assert (snapshot(listing) / UNET).read_bytes() == WEIGHTS


async def test_a_file_with_a_wrong_hash_is_downloaded_once_more(hub, downloads):
    hub.faults[UNET] = Fault("wrong", times=1)

    listing, _ = await download_repo(downloads)

    assert (snapshot(listing) / UNET).read_bytes() == WEIGHTS
    assert len(hub.get_requests(UNET)) == 2


async def test_a_file_with_a_wrong_hash_twice_is_damaged(hub, downloads):
    hub.faults[UNET] = Fault("wrong", times=9)

    error = await problem_of(download_repo(downloads))

    assert (error.problem, error.detail) == ("damaged", UNET)
    listing = await downloads.inspect_repo(FOX)
    assert not (snapshot(listing) / UNET).exists()
    assert not partial_files(listing)


@pytest.fixture
def started(monkeypatch):
    """The children that were started, in order."""
    children, start = [], client.ChildProcess.start

    async def record_start(*args, **options):
        children.append(await start(*args, **options))
        return children[-1]

    monkeypatch.setattr(client.ChildProcess, "start", record_start)
    return children


async def test_a_killed_child_is_reported_and_the_next_one_resumes(hub, downloads, started):
    listing = await downloads.inspect_repo(FOX)
    hub.slow_s = 0.05

    async def kill_in_the_middle():
        async with aclosing(downloads.download(listing)) as transfers:
            async for transfer in transfers:
                if transfer.done > 200_000:
                    os.kill(started[-1].pid, signal.SIGKILL)

    assert (await problem_of(kill_in_the_middle())).problem == "broken"

    hub.slow_s = 0.0
    await download_repo(downloads)
    assert hub.get_requests(UNET)[-1].start > 0


async def test_closing_the_iterator_ends_the_child_and_keeps_partial_files(hub, downloads, started):
    listing = await downloads.inspect_repo(FOX)
    hub.slow_s = 0.05
    async with aclosing(downloads.download(listing)) as transfers:
        async for transfer in transfers:
            if transfer.done > 100_000:
                break

    assert started[-1]._process.returncode is not None
    assert partial_files(listing)


async def test_a_repo_is_not_downloaded_twice_at_the_same_time(hub, downloads):
    listing = await downloads.inspect_repo(FOX)
    hub.slow_s = 0.05
    async with aclosing(downloads.download(listing)) as transfers:
        await anext(transfers)
        assert (await problem_of(anext(downloads.download(listing)))).problem == "twice"


# ---------------------------------------------------------------- the disk


async def test_a_full_disk_is_reported_before_the_download(downloads, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    listing = await downloads.inspect_repo(FOX)
    monkeypatch.setattr(transfer, "free_bytes", lambda: 2**20)

    with pytest.raises(StorageFull) as full:
        transfer.download(listing, "", messages.RetryPolicy(), lambda _: None)
    assert full.value.need_mb >= 64


async def test_a_disk_that_fills_up_during_the_download_is_reported_and_partial_files_are_kept(tmp_path, hub):
    part = tmp_path / "part"
    stream = transfer.ResumableFile(
        "org/fox", f"{hub.url}/org/fox/resolve/main/{UNET}", part, len(WEIGHTS),
        messages.RetryPolicy(stall_timeout_s=30, max_attempts=2, backoff_s=0.01),
        transfer.ProgressMeter(len(WEIGHTS), lambda _: None), {},
    )  # fmt: skip
    limit = 300_000
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises((StorageFull, OSError)):
            stream.download()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert part.stat().st_size <= limit


# ---------------------------------------------------------------- environments


def test_only_the_download_child_has_the_token_and_the_network_settings():
    environ = {
        "PATH": "/bin",
        "HF_ENDPOINT": "http://hub",
        "HTTPS_PROXY": "http://p",
        "HF_TOKEN": "hf_x",
        "CIVITAI_TOKEN": "c",
        "MY_KEY": "k",
    }

    allowed = network_environment(environ, {"HF_TOKEN": "hf_y"})
    assert (allowed["HF_TOKEN"], allowed["HF_ENDPOINT"], allowed["HTTPS_PROXY"]) == ("hf_y", "http://hub", "http://p")
    assert "HF_HUB_OFFLINE" not in allowed
    assert not {"MY_KEY", "CIVITAI_TOKEN"} & set(allowed)
    others = clean_environment(environ)
    assert others["HF_HUB_OFFLINE"] == "1"
    assert not {"HF_TOKEN", "CIVITAI_TOKEN", "HF_ENDPOINT", "HTTPS_PROXY"} & set(others)


def test_the_token_is_not_in_the_repr(downloads):
    assert "hf_secret" not in repr(HubClient("hf_secret", downloads.environ))


async def test_the_child_imports_no_torch():
    heavy = "{'torch', 'transformers', 'diffusers'}"
    code = f"import sys, inference.hub.worker, inference.hub.transfer; print(sorted({heavy} & set(sys.modules)))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    output, _ = await process.communicate()

    assert output.strip() == b"[]"


def test_the_environment_sets_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))

    assert hub_cache_dir() == tmp_path / "hub"

    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", str(tmp_path / "old"))
    assert hub_cache_dir() == tmp_path / "old"
