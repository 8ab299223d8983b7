"""The parts of `benchmarks.gpu`. Each adds its comparisons and figures to the run."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import blip, random_models, workload
from benchmarks.figures import compare
from benchmarks.gpu import GpuRun
from benchmarks.one_gpu import GpuModel, largest_difference, run_engine, run_stock
from benchmarks.shapes import STARTER
from bot.models import ModelSpec
from bot.ports import Task
from inference.backends.onnx_providers import PROVIDERS
from inference.diffusion.execution.build_trial import with_rows
from inference.engine.base import TaskDone
from inference.vision.engine import VisionEngine

SAVERS: Mapping[str, Callable[..., float]] = {"sd15": random_models.save_sd15, "sdxl": random_models.save_sdxl}
ROWS = (1, 2, 4, 8)
EXACT_LEVELS = 1
PART = 1 / 4
CAPTIONS, CAPTION_TOKENS, ANSWER_TOKENS = 8, 20, 5


def model_of(run: GpuRun, name: str, size: int, dtype: str) -> GpuModel:
    """Its weights are written when first asked for."""
    folder = STARTER if name == "starter" else run.scratch / name
    if not folder.exists():
        torch.manual_seed(0)
        millions = SAVERS[name](folder, is_tiny=run.is_quick, device=run.device)
        run.facts.setdefault("parameters_m", {})[name] = round(millions, 1)
    return GpuModel(name, folder, size, run.device, dtype)


@contextmanager
def closing(engine: Any) -> Iterator[Any]:
    """Unload the engine, so that the next one measures an empty device."""
    try:
        yield engine
    finally:
        engine.unload_model()
        free_memory()


def free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


# ---------------------------------------------------------------- the gate


def check_images(run: GpuRun, *, name: str, size: int, dtype: str) -> None:
    """A mixed stream of one engine, each image against the stock pipeline's, on the same device."""
    model = model_of(run, name, min(size, 256), dtype)
    requests = [
        *workload.all_different(3 if run.is_quick else 8, 1, model.size),
        *(replace(one, number=one.number + 100) for one in workload.chat_mix(3 if run.is_quick else 8, 2, model.size)),
    ]
    tasks = model.tasks(requests)
    with closing(model.open_engine(**plain_settings())) as engine:
        images, _ = run_engine(engine, tasks)
    expected, _ = run_stock(model.open_stock(), tasks)
    free_memory()
    levels = largest_difference(images, expected)
    run.facts.setdefault("levels", {})[f"{name}, {dtype}"] = levels
    if dtype == "float32" and levels > EXACT_LEVELS:
        raise ValueError(f"{name}: images differ by {levels} levels from the stock pipeline's")


def check_answers(run: GpuRun) -> None:
    """Questions that are answered together, against Transformers' `generate`, on the starter in float32."""
    with closing(open_vision(run, blip.STARTER, "float32")) as engine:
        tasks = [blip.make_request(number, "what is this?", ANSWER_TOKENS, photo=number) for number in range(8)]
        answers, expected = run_answers(engine, tasks), stock_answers(engine, tasks)
    run.facts["equal_answers"] = sum(answers[name] == expected[name] for name in expected)
    if answers != expected:
        raise ValueError(f"{len(tasks) - run.facts['equal_answers']} answers differ from the stock model's")


def plain_settings() -> dict[str, Any]:
    """Uncompiled, where this Easel has the setting."""
    return {"compile": "off"} if "compile" in ModelSpec.__dataclass_fields__ else {}


# ---------------------------------------------------------------- streams


def stacks(run: GpuRun) -> dict[str, dict[str, Any] | str]:
    """Settings of our sides by their titles, or why one is not run."""
    found: dict[str, dict[str, Any] | str] = {"Easel, uncompiled": plain_settings()}
    found["Easel, compiled blocks"] = {"compile": "on"} if plain_settings() else "models have no setting compile"
    for title, provider in (("ONNX Runtime in float32", run.device.partition(":")[0]), ("TensorRT", "tensorrt")):
        settings = {"backend": "onnx", "providers": (provider,)}
        problem = "" if has_provider(provider) else f"no ONNX Runtime with {PROVIDERS[provider]}"
        found[f"Easel, {title}"] = problem or settings
    return found


def has_provider(name: str) -> bool:
    if find_spec("onnxruntime") is None:
        return False
    import onnxruntime  # type: ignore[import-untyped, unused-ignore]

    return PROVIDERS[name] in onnxruntime.get_available_providers()


def compare_stacks(run: GpuRun, *, name: str, size: int, dtype: str, count: int, has_builds: bool = True) -> None:
    """Images per second of one stream of requests, against the stock pipeline behind a lock."""
    model = model_of(run, name, size, dtype)
    tasks = model.tasks(workload.all_different(count, 0, size))
    pipeline = model.open_stock()
    run_stock(pipeline, tasks[:1])
    lock_per_s = median(count / run_stock(pipeline, tasks)[1] for _ in range(1 if run.is_quick else 2))
    for title, settings in stacks(run).items():
        what = f"{name}, {dtype}, {title}, images per second"
        if isinstance(settings, str) or ("backend" in settings and not has_builds):
            run.not_run[what] = settings if isinstance(settings, str) else "--quick builds one model only"
            continue
        if not run.is_quick and run.left_s < 30:
            run.not_run[what] = "no time was left"
            continue
        try:
            rate = engine_rate(run, model, settings, tasks)
        except Exception as error:  # the other sides must still be measured
            run.not_run[what] = f"{type(error).__name__}: {str(error)[:300]}"
            continue
        run.rows.append(compare(what, rate, lock_per_s, "lock", more_is_better=True))
    del pipeline
    free_memory()


def engine_rate(run: GpuRun, model: GpuModel, settings: Mapping[str, Any], tasks: list[Task]) -> float:
    """Images per second, after a run that compiles and measures passes. Raises: RuntimeError: not on its backend."""
    if "backend" in settings:
        if settings["providers"] != ("tensorrt",):  # ONNX Runtime computes bfloat16 with TensorRT alone
            model = replace(model, dtype="float32")
        make_build(model, settings)
    with closing(model.open_engine(**settings)) as engine:
        first_s = run_engine(engine, tasks)[1]
        wanted = settings.get("backend", "torch")
        if engine.capabilities.get("backend", "torch") != wanted:
            raise RuntimeError(f"it runs on something else: {dict(engine.capabilities)}")
        if problem := engine.capabilities.get("compile_problem"):
            raise RuntimeError(f"its blocks are not compiled: {problem}")
        run.facts.setdefault("first_stream_s", {})[f"{model.name}, {dict(settings)}"] = round(first_s, 1)
        return median(len(tasks) / run_engine(engine, tasks)[1] for _ in range(1 if run.is_quick else 2))


def make_build(model: GpuModel, settings: Mapping[str, Any]) -> None:
    """The build that `models optimize` makes, in the scratch data directory."""
    import threading

    from bot.ports import BuildRequest
    from inference.backends.builds import builds_dir
    from inference.diffusion.execution.denoiser_build import make_build as build
    from inference.ipc.build_messages import MakeBuild

    is_free = threading.Event()
    is_free.set()
    spec = model.spec(providers=settings.get("providers", ()))
    request = BuildRequest(model=spec, backend=settings["backend"], precision=model.dtype, device=model.device)
    build(MakeBuild(request=request, folder=str(builds_dir())), is_free, lambda _: None)


# ---------------------------------------------------------------- passes


def time_passes(run: GpuRun, *, name: str, size: int, dtype: str) -> None:
    """Seconds of the denoiser's passes by rows, uncompiled and with compiled blocks, and of the first compiled call."""
    from inference.backends.regional_compile import RegionalCompile, compile_problem

    model = model_of(run, name, size, dtype)
    pipeline = model.open_stock()
    denoiser = pipeline.unet
    arguments = captured_call(model, pipeline)
    rows = ROWS[:2] if run.is_quick else ROWS
    plain = {count: pass_s(denoiser, with_rows(arguments, count), run) for count in rows}
    figures: dict[str, Any] = {"uncompiled_ms": milliseconds(plain)}
    run.facts.setdefault("passes", {})[f"{name}, {dtype}"] = figures
    if problem := compile_problem(denoiser, run.device):
        figures["compiled"] = problem
        return
    with torch.no_grad():
        expected = denoiser(**with_rows(arguments, rows[-1]))[0].float()
    compiled = RegionalCompile(denoiser)
    try:
        started = time.perf_counter()
        with torch.no_grad():
            output = denoiser(**with_rows(arguments, rows[-1]))[0].float()
        synchronize()
        figures["first_call_s"] = round(time.perf_counter() - started, 1)
        figures["relative_error"] = float((output - expected).norm() / expected.norm())
        quick = {count: pass_s(denoiser, with_rows(arguments, count), run) for count in rows}
        figures["compiled_ms"] = milliseconds(quick)
        figures["times"] = {str(count): round(plain[count] / quick[count], 2) for count in rows}
    finally:
        compiled.remove()
        del pipeline, denoiser
        free_memory()


def captured_call(model: GpuModel, pipeline: Any) -> dict[str, Any]:
    """The arguments of a denoiser's call, by name."""
    calls: list[dict[str, Any]] = []
    names = ("sample", "timestep", "encoder_hidden_states")
    handle = pipeline.unet.register_forward_pre_hook(
        lambda _module, args, kwargs: calls.append({**dict(zip(names, args, strict=False)), **kwargs}),
        with_kwargs=True,
    )
    try:
        [request] = workload.all_different(1, 0, model.size)
        run_stock(pipeline, model.tasks([replace(request, steps=1, guidance=5.0)]))
    finally:
        handle.remove()
    call = {name: value for name, value in calls[0].items() if value is not None}
    timestep = torch.as_tensor(call["timestep"]).reshape(-1)[:1]
    return call | {"timestep": timestep.expand(len(call["sample"])).clone(), "return_dict": False}


@torch.no_grad()
def pass_s(denoiser: Any, arguments: Mapping[str, Any], run: GpuRun) -> float:
    """The median, after passes that warm up."""
    taken = []
    for number in range(5 if run.is_quick else 23):
        synchronize()
        started = time.perf_counter()
        denoiser(**arguments)
        synchronize()
        if number >= 3:
            taken.append(time.perf_counter() - started)
    return median(taken)


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def milliseconds(seconds: Mapping[int, float]) -> dict[str, float]:
    return {str(rows): round(1000 * one, 2) for rows, one in seconds.items()}


# ---------------------------------------------------------------- captions and answers


def open_vision(run: GpuRun, folder: Path, dtype: str) -> VisionEngine:
    engine = VisionEngine(ModelSpec(name="bench", tasks=blip.TASKS, repo=str(folder), dtype=dtype))
    engine.load_model(run.device)
    return engine


def run_answers(engine: VisionEngine, tasks: list[Task]) -> dict[str, str]:
    for task in tasks:
        engine.add_task(task)
    answers: dict[str, str] = {}
    while len(answers) < len(tasks):
        answers |= {
            event.task_id: (event.result.text or "").strip() for event in engine.step() if isinstance(event, TaskDone)
        }
    return answers


def stock_answers(engine: Any, tasks: list[Task]) -> dict[str, str]:
    return {task.id: blip.stock_answer(engine, task) for task in tasks}


def measure_captions(run: GpuRun) -> None:
    """Eight captions together against one after another, and a second question, on BLIP-2's shape in bfloat16."""
    folder, what = run.scratch / "blip2", f"BLIP-2 at {PART:g} of OPT-2.7B's depth, bfloat16"
    if run.is_quick:
        folder, what = blip.STARTER, "starter, bfloat16"
    else:
        blip.save_model(folder, PART)
    with closing(open_vision(run, folder, "bfloat16")) as engine:
        tokens = 4 if run.is_quick else CAPTION_TOKENS
        captions = [blip.make_request(number, "", tokens, photo=number) for number in range(CAPTIONS)]
        first, second = (blip.make_request(90 + n, text, ANSWER_TOKENS, 1) for n, text in enumerate(("what?", "why?")))

        def burst_s() -> tuple[float, float]:
            engine._image_encoder.cache.clear()
            return seconds_of(lambda: blip.run_ours(engine, captions)), seconds_of(
                lambda: blip.run_peer(engine, captions)
            )

        burst_s()
        ours, peer = burst_s()
        run.rows.append(compare(f"{what}: {CAPTIONS} captions of {tokens} tokens, s", ours, peer, "one at a time"))
        blip.run_ours(engine, [first])
        ours = seconds_of(lambda: blip.run_ours(engine, [second]))
        peer = seconds_of(lambda: blip.run_peer(engine, [second]))
        run.rows.append(compare(f"{what}: a second answer of {ANSWER_TOKENS} tokens, s", ours, peer, "stock generate"))


def seconds_of(work: Callable[[], None]) -> float:
    synchronize()
    started = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - started
