"""Preflight checks: models that do not fit, GPUs that torch cannot use, disks that are nearly full."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adapters.cli.doctor.check import BAD, OK, WARN, Check
from adapters.cli.doctor.system import read_machine_spec
from adapters.cli.models.inspect import find_model_path
from adapters.cli.output import program_name
from bot.memory.fit import FitEstimate, estimate_fit, format_gib
from bot.memory.format_advice import format_memory
from bot.memory.format_check import format_problem, installed_support
from bot.memory.loaded_together import describe_loaded_together, find_loaded_together, order_models
from bot.models import TEXT_TO_IMAGE, ModelSpec
from bot.settings import hub_cache_dir, nearest_existing_dir

if TYPE_CHECKING:
    from adapters.cli.ports import LoadedConfig

NVIDIA_DRIVER_FILES = ("/proc/driver/nvidia/version", "/sys/module/nvidia/version")
AMD_DRIVER_FILES = ("/dev/kfd",)
LOW_DISK_MB = 5000
REINSTALL_HINT = "`UV_TORCH_BACKEND=auto python3 scripts/install.py` installs the matching torch build"


def preflight_checks(loaded: "LoadedConfig", devices: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """`devices`: as returned by `CompositionRoot.probe_devices`."""
    yield from check_unused_accelerators(devices)
    hardware = read_machine_spec(devices, loaded)
    for spec in loaded.models:
        estimate = estimate_fit(spec, hardware)
        yield from _check_fit(spec, estimate, devices)
        if estimate.notes or estimate.place == "no":
            yield from (Check("models", OK, f"{spec.name}: {line}") for line in format_memory(spec, hardware))
        if problem := format_problem(spec, installed_support()):
            yield Check("models", BAD, f"{spec.name} cannot be loaded: {problem}.")
    together = find_loaded_together(order_models(loaded.models), hardware)
    if together is not None:
        yield from (Check("models", OK, line) for line in describe_loaded_together(together))
    yield from _check_model_disk(hardware.disk_free_mb)
    yield from _check_offline_mode(loaded)
    yield from _check_safety_classifier(loaded)


def check_unused_accelerators(devices: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """GPUs that the system has but torch does not use."""
    if any(device.get("kind") != "cpu" for device in devices):
        return
    if shutil.which("nvidia-smi") or any(map(os.path.exists, NVIDIA_DRIVER_FILES)):
        yield Check(
            "hardware",
            WARN,
            f"There is an NVIDIA driver, but torch finds no GPU. If nvidia-smi lists one, {REINSTALL_HINT}.",
        )
    elif any(map(os.path.exists, AMD_DRIVER_FILES)):
        yield Check("hardware", WARN, f"There is an AMD GPU that torch does not use: {REINSTALL_HINT}.")


def _check_fit(spec: ModelSpec, estimate: FitEstimate, devices: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    if estimate.place == "no":
        hint = f"`{program_name()} setup` lists models that fit"
        yield Check("models", BAD, f"{spec.name} does not fit this machine: it needs {estimate.missing}; {hint}.")
    elif estimate.notes:
        yield Check(
            "models", WARN if estimate.is_group_offloaded else OK, f"{spec.name} fits. {' '.join(estimate.notes)}"
        )
    lacks_bfloat16 = any(device.get("bfloat16") is False for device in devices)
    if spec.dtype == "bfloat16" and lacks_bfloat16 and estimate.place in ("resident", "offload"):
        sentence = f"{spec.name} uses bfloat16, which this GPU only emulates: dtype = 'float16' may be faster."
        yield Check("models", WARN, sentence)


def _check_model_disk(free_mb: int) -> Iterator[Check]:
    cache = hub_cache_dir()
    nearest = nearest_existing_dir(cache)
    if not os.access(nearest, os.W_OK):
        yield Check("models", BAD, f"Models cannot be downloaded: {nearest} is not writable; HF_HOME moves the cache.")
    elif free_mb < LOW_DISK_MB:
        sentence = f"Only {format_gib(free_mb)} free for models in {cache}: most need more; HF_HOME moves the cache."
        yield Check("models", WARN, sentence)
    else:
        yield Check("models", OK, f"{format_gib(free_mb)} free for models in {cache}.")


def _check_offline_mode(loaded: "LoadedConfig") -> Iterator[Check]:
    missing = [spec.name for spec in loaded.models if find_model_path(spec, loaded.root) is None]
    if missing and os.environ.get("HF_HUB_OFFLINE", "").casefold() in ("1", "true", "yes", "on"):
        yield Check("models", BAD, f"HF_HUB_OFFLINE is set, so {', '.join(missing)} cannot be downloaded: unset it.")


def _check_safety_classifier(loaded: "LoadedConfig") -> Iterator[Check]:
    """Without the classifier, real models are restricted to admins."""
    settings = loaded.settings.get("safety")
    real = [spec.name for spec in loaded.models if TEXT_TO_IMAGE in spec.tasks and not spec.demo]
    if settings is None or not real:
        return
    from bot.safety import classifier_spec, classifier_specs

    main, specs = classifier_spec(settings), classifier_specs(settings)
    installed = [spec.repo for spec in specs if find_model_path(spec, loaded.root) is not None]
    if main.repo and main.repo not in installed:
        consequence = f"only {installed[0]} checks images" if installed else f"{', '.join(real)} is for admins only"
        sentence = (
            f"The safety classifier {main.repo} is not installed, so {consequence}: "
            f"`{program_name()} models use {real[0]}` installs it."
        )
        yield Check("models", WARN, sentence)
