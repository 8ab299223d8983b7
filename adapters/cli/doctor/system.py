"""Checks of programs, hardware, settings, tokens, models and the server."""

import os
import platform
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from adapters.cli.doctor.check import BAD, OK, WARN, Check
from adapters.cli.models.inspect import check_model
from bot.errors import ConfigError
from bot.memory.fit import MachineSpec
from bot.memory.weights import has_bitsandbytes, has_torchao
from bot.runtime.lock import LockHolder, changed_sentence, read_holder
from bot.settings import SECRETS, find_data_dir, hub_cache_dir, nearest_existing_dir, read_secrets

if TYPE_CHECKING:
    import httpx

    from adapters.cli.ports import CompositionRoot, LoadedConfig

SUPPORTED_PYTHONS = ((3, 11), (3, 13))
MIN_SQLITE = (3, 37, 0)
HUGGING_FACE_VARIABLES = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_HUB_DISABLE_TELEMETRY")
_HTTP_TIMEOUT_S = 5.0


def check_programs() -> Iterator[Check]:
    first, last = SUPPORTED_PYTHONS
    version = f"Python {platform.python_version()}"
    if first <= sys.version_info[:2] <= last:
        yield Check("programs", OK, f"{version} on {platform.system()} {platform.machine()}.")
    else:
        supported = f"{first[0]}.{first[1]} to {last[0]}.{last[1]}"
        yield Check("programs", BAD, f"{version} is not supported: Easel needs {supported}.")
    if sqlite3.sqlite_version_info >= MIN_SQLITE:
        yield Check("programs", OK, f"SQLite {sqlite3.sqlite_version}.")
    else:
        sentence = f"SQLite {sqlite3.sqlite_version} is too old: 3.37 or later is needed; a newer Python includes it."
        yield Check("programs", BAD, sentence)


def check_hardware(devices: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """`devices`: as returned by `CompositionRoot.probe_devices`."""
    import psutil  # type: ignore[import-untyped]

    memory = psutil.virtual_memory()
    free, total = memory.available / 2**30, memory.total / 2**30
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count()
    yield Check("hardware", OK, f"{cores} CPU cores, {total:.1f} GiB RAM ({free:.1f} GiB free).")
    for device in devices:
        yield Check("hardware", OK, f"Device {_format_device(device)}.")
    if not any(device.get("memory_mb") for device in devices):
        yield Check(
            "hardware", BAD, "torch did not answer: `python -m inference.hardware.probe` in the clone shows why."
        )
    elif all(device.get("kind") == "cpu" for device in devices):
        yield Check("hardware", OK, "No GPU: the starter models are fast enough, large models are slow.")
        yield Check("hardware", OK, _bfloat16_sentence(any(device.get("bfloat16") for device in devices)))


def _bfloat16_sentence(has_instructions: bool) -> str:
    if has_instructions:
        return "The CPU has bfloat16 instructions: a model's test measures whether bfloat16 is faster than float32."
    return "The CPU has no bfloat16 instructions: models compute in float32."


def probe_devices(composition: "CompositionRoot") -> list[Mapping[str, Any]]:
    return list(composition.probe_devices().get("devices") or [])


def read_machine_spec(devices: Sequence[Mapping[str, Any]], loaded: "LoadedConfig") -> MachineSpec:
    """The machine that the models run on, and the disk that they are downloaded to."""
    import psutil

    memory = psutil.virtual_memory()
    folder = nearest_existing_dir(hub_cache_dir(), loaded.data_dir)
    return MachineSpec(
        devices=tuple((str(one["name"]), str(one["kind"]), int(one["memory_mb"])) for one in devices),
        ram_mb=int(memory.total // 2**20),
        free_ram_mb=int(memory.available // 2**20),
        disk_free_mb=int(shutil.disk_usage(folder).free // 2**20),
        can_quantize=has_torchao(),
        can_use_4bit=has_bitsandbytes(),
        max_loaded_models=getattr(loaded.settings.get("pool"), "max_loaded_models", 4),
    )


def _format_device(device: Mapping[str, Any]) -> str:
    """`cuda:0 (NVIDIA H100, 78.0 GiB)`."""
    name, title = str(device.get("name", "?")), str(device.get("title", ""))
    details = [title] if title.casefold() != name.casefold() else []
    details += [f"{device['memory_mb'] / 1024:.1f} GiB"] if device.get("memory_mb") else []
    return f"{name} ({', '.join(filter(None, details))})"


def check_settings(loaded: "LoadedConfig | None", problems: tuple[str, ...]) -> Iterator[Check]:
    for problem in problems:
        yield Check("settings", BAD, problem)
    if loaded is not None:
        for path in loaded.files:
            yield Check("settings", OK, f"Read {path}.")
        for renamed in loaded.renamed:
            yield Check("settings", WARN, renamed.sentence)
    variables = sorted(name for name in os.environ if name.startswith("EASEL_"))
    if variables:
        yield Check("settings", OK, f"Environment variables: {', '.join(variables)}.")


def check_tokens() -> Iterator[Check]:
    try:
        secrets = read_secrets(os.environ, find_data_dir(os.environ))
    except ConfigError as error:
        for problem in error.problems:
            yield Check("tokens", BAD, problem)
        return
    for variable in SECRETS:
        source = secrets.sources.get(variable)
        yield Check("tokens", OK, f"{variable} is set (by {source})." if source else f"{variable} is not set.")


def check_hugging_face() -> Iterator[Check]:
    for name in HUGGING_FACE_VARIABLES:
        value = os.environ.get(name)
        yield Check("hugging face", OK, f"{name} is {_hide_password(value)}." if value else f"{name} is not set.")


def _hide_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else url


def check_models(loaded: "LoadedConfig") -> Iterator[Check]:
    specs = list(loaded.models)
    if not specs:
        yield Check("models", BAD, "No model is configured: add a [models.NAME] table to config.toml.")
    for spec in specs:
        mark, sentence = check_model(spec, loaded.root)
        yield Check("models", mark, sentence)


# ---------------------------------------------------------------- server


def check_server(loaded: "LoadedConfig") -> Iterator[Check]:
    holder = read_holder(loaded.data_dir)
    if holder is not None and not holder.pid:
        yield Check("server", BAD, changed_sentence(loaded.data_dir))
        return
    if holder is not None:
        yield from _check_running_server(holder)
        return
    web = loaded.settings.get("web")
    if web is None or not web.enabled:
        yield Check("server", WARN, "No server is running, and web.enabled is false: there is no page.")
        return
    yield _check_port(web.host, web.port)
    if web.host not in ("127.0.0.1", "localhost", "::1"):
        yield Check("server", WARN, f"web.host is {web.host}: Easel does not start until an API key exists.")


def _check_running_server(holder: LockHolder) -> Iterator[Check]:
    if not holder.url:
        yield Check("server", WARN, f"Process {holder.pid or '?'} uses the data directory and has no address yet.")
        return
    import httpx

    try:
        with httpx.Client(trust_env=False, timeout=_HTTP_TIMEOUT_S) as client:
            headers = {"Authorization": f"Bearer {holder.secret}"}
            response = client.get(f"{holder.url.rstrip('/')}/readyz", headers=headers)
    except httpx.HTTPError as error:
        sentence = f"The server at {holder.url} (process {holder.pid}) does not respond ({type(error).__name__})."
        yield Check("server", BAD, sentence)
        return
    if response.is_success:
        yield Check("server", OK, f"A server is running at {holder.url} (process {holder.pid}) and is ready.")
    else:
        yield Check("server", WARN, f"The server at {holder.url} (process {holder.pid}) is running but not ready yet.")
    for sentence in _platform_problems(response):
        yield Check("chats", WARN, sentence)


def _platform_problems(response: "httpx.Response") -> list[str]:
    """What the running server says about its chat platforms; it may be of an older version."""
    try:
        checks = response.json()["checks"].values()
        return [str(check["sentence"]) for check in checks if not check["required"] and not check["ok"]]
    except (AttributeError, KeyError, TypeError, ValueError):
        return []


def _check_port(host: str, port: int) -> Check:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return Check("server", BAD, f"Cannot listen on {host}:{port} ({reason}): choose another web.port.")
    return Check("server", OK, f"No server is running; {host}:{port} is free.")
