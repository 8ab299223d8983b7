"""Stable Diffusion 1.5's shape against stable-diffusion.cpp and fastsdcpu: `python -m benchmarks.other_engines`.

They load no smaller shape. All sides have the same random weights in float32 and make the same images, without
guidance; each peer serves one request at a time. They are installed into `build/` with packages of their own, for
minutes each, when the benchmark first needs them; one that cannot be installed or cannot load the shape is left out,
and the record says why. Not part of `make bench`.
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import figures, ours, peers, workload
from benchmarks.compute_threads import measure_each
from benchmarks.figures import Comparison, compare
from benchmarks.machine import ROOT
from benchmarks.peers import Peer
from benchmarks.shapes import ModelShape
from benchmarks.stream import Contender, run_stream
from benchmarks.workload import ImageRequest

INSTALL_S = 600.0
SIDE, COUNT, STEPS = 256, 4, 4


@dataclass(frozen=True)
class OtherEngine:
    name: str
    packages: tuple[str, ...]

    @property
    def python(self) -> Path:
        return ROOT / "build" / self.name / "bin" / "python"

    def peer(self, threads: int) -> Peer:
        script = str(ROOT / "benchmarks" / "peer_foreign.py")
        return ForeignPeer(self.name, script, (self.name,), (str(threads),), str(self.python))


@dataclass(frozen=True)
class ForeignPeer(Peer):
    python: str = sys.executable

    def command(self, folder: str, port: int) -> list[str]:
        return [self.python, self.module, *self.args_before, folder, str(port), *self.args_after]


OTHERS = (
    OtherEngine("stable-diffusion.cpp", ("stable-diffusion-cpp-python==0.4.7",)),
    OtherEngine("fastsdcpu", ("fastsdcpu-pip==0.1.6", "openvino<2026", "nncf<3")),
)
"""fastsdcpu imports names that later versions of OpenVINO and NNCF have not."""


def run_benchmark(quick: bool = False) -> dict[str, Any]:
    not_run: dict[str, str] = {}
    problems = {other: install(other) for other in OTHERS}
    not_run |= {other.name: problem for other, problem in problems.items() if problem}
    others = [other for other, problem in problems.items() if not problem]
    with TemporaryDirectory(prefix="easel-bench-") as scratch:
        folder = Path(scratch) / "sd15"
        command = [sys.executable, "-m", "benchmarks.full_size", "--save", str(folder), "sd15"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        code = "import sys, pathlib, benchmarks.random_models as it; it.publish_float32(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)
        shape = ModelShape("sd15", folder, SIDE, is_compute_bound=True)

        def measure(threads: int) -> dict[str, Any]:
            rows = asyncio.run(_compare(shape, others, threads, 1 if quick else 3, not_run))
            return figures.record(rows, images=COUNT, steps=STEPS, side=SIDE, not_run=not_run)

        return measure_each(measure)


def summarize(record: Any) -> str:
    not_run = [f"  {name}: not run: {problem}" for name, problem in record["not_run"].items()]
    return "\n".join([figures.summarize_rows(record), *not_run])


def install(other: OtherEngine) -> str:
    """Why it cannot be used; empty: it is installed."""
    if other.python.exists() and (other.python.parent.parent / ".installed").exists():
        return ""
    uv = [sys.executable, "-m", "uv"]
    folder = other.python.parent.parent
    try:
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        pip = [*uv, "pip", "install", "--quiet", "--python", str(other.python), *other.packages]
        subprocess.run(pip, check=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        return f"its installation took more than {INSTALL_S:.0f} s"
    except (subprocess.CalledProcessError, OSError) as error:
        return f"it cannot be installed: {error}"
    (folder / ".installed").touch()
    return ""


async def _compare(
    shape: ModelShape, others: list[OtherEngine], threads: int, repeats: int, not_run: dict[str, str]
) -> list[Comparison]:
    async with _open_contenders(shape, others, threads, not_run) as contenders:
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for seed in range(repeats):
            for name, contender in contenders.items():
                seconds[name].append((await run_stream(contender, requests(seed))).seconds)
    rate = {name: COUNT / figures.percentile(taken, 0.5) for name, taken in seconds.items()}
    what = "sd15, without guidance, images per second"
    return [compare(what, rate[ours.NAME], rate[name], name, more_is_better=True) for name in rate if name != ours.NAME]


def requests(seed: int) -> list[ImageRequest]:
    """All alike but for prompts and seeds: every peer has this sampler or ignores it."""
    return [replace(one, steps=STEPS) for one in workload.all_identical(COUNT, seed, SIDE)]


@asynccontextmanager
async def _open_contenders(
    shape: ModelShape, others: list[OtherEngine], threads: int, not_run: dict[str, str]
) -> AsyncIterator[dict[str, Contender]]:
    """Ours first; each has made an image."""
    async with AsyncExitStack() as stack:
        contenders: dict[str, Contender] = {ours.NAME: await stack.enter_async_context(ours.start_pool(shape, threads))}
        for peer in (peers.LOCK, *(other.peer(threads) for other in others)):
            try:
                contenders[peer.name] = await stack.enter_async_context(peers.start_peer(peer, shape, threads))
            except (RuntimeError, TimeoutError) as error:
                not_run[peer.name] = f"it cannot load the shape: {error}"
        for name, contender in list(contenders.items()):
            try:
                await run_stream(contender, requests(0)[:1])
            except Exception as error:  # another program's
                not_run[name] = f"it made no image: {error!r}"
                del contenders[name]
        yield contenders


if __name__ == "__main__":
    figures.run_cli(run_benchmark, summarize)
