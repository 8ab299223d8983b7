"""What `doctor` says of programs, hardware, settings, tokens, models and the server."""

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
from adapters.cli.models.inspect import examine_model
from bot.errors import ConfigError
from bot.memory.fit import Hardware, can_quantize
from bot.runtime.lock import Holder, read_holder
from bot.settings import SECRETS, find_data_dir, hub_cache, nearest_folder, read_secrets

if TYPE_CHECKING:
    from adapters.cli.ports import Composition, Loaded

PYTHONS = ((3, 11), (3, 13))
OLDEST_SQLITE = (3, 37, 0)
HUGGING_FACE = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_HUB_DISABLE_TELEMETRY")
_ANSWER_S = 5.0


def programs() -> Iterator[Check]:
    first, last = PYTHONS
    wanted = f"Easel needs {first[0]}.{first[1]} to {last[0]}.{last[1]}"
    found = f"Python {platform.python_version()}"
    if first <= sys.version_info[:2] <= last:
        yield Check("programs", OK, f"{found} on {platform.system()} {platform.machine()}.")
    else:
        yield Check("programs", BAD, f"{found} does not fit: {wanted}.")
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info >= OLDEST_SQLITE:
        yield Check("programs", OK, f"SQLite {version}.")
    else:
        yield Check("programs", BAD, f"SQLite {version} is too old: at least 3.37 is needed, with a newer Python.")


def hardware(devices: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """`devices`: as `Composition.probe_devices` has them."""
    import psutil  # type: ignore[import-untyped]

    memory = psutil.virtual_memory()
    free, total = memory.available / 2**30, memory.total / 2**30
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count()
    yield Check("hardware", OK, f"{cores} CPU cores, {total:.1f} GiB of memory ({free:.1f} GiB free).")
    for device in devices:
        yield Check("hardware", OK, f"Device {_describe(device)}.")
    if not any(device.get("memory_mb") for device in devices):
        yield Check(
            "hardware", BAD, "torch did not answer: `python -m inference.hardware.probe` in the clone shows why."
        )
    elif all(device.get("kind") == "cpu" for device in devices):
        yield Check("hardware", OK, "There is no accelerator: the starter models are quick enough, large ones are not.")


def devices_of(composition: "Composition") -> list[Mapping[str, Any]]:
    return list(composition.probe_devices().get("devices") or [])


def machine_of(devices: Sequence[Mapping[str, Any]], loaded: "Loaded") -> Hardware:
    """What the models would run on, and the disk that they go to."""
    import psutil

    memory = psutil.virtual_memory()
    folder = nearest_folder(hub_cache(), loaded.data_dir)
    return Hardware(
        devices=tuple((str(one["name"]), str(one["kind"]), int(one["memory_mb"])) for one in devices),
        ram_mb=int(memory.total // 2**20),
        free_ram_mb=int(memory.available // 2**20),
        disk_free_mb=int(shutil.disk_usage(folder).free // 2**20),
        can_quantize=can_quantize(),
    )


def _describe(device: Mapping[str, Any]) -> str:
    """`cuda:0 (NVIDIA H100, 78.0 GiB)`."""
    name, title = str(device.get("name", "?")), str(device.get("title", ""))
    words = [title] if title.casefold() != name.casefold() else []
    words += [f"{device['memory_mb'] / 1024:.1f} GiB"] if device.get("memory_mb") else []
    return f"{name} ({', '.join(filter(None, words))})"


def settings(loaded: "Loaded | None", problems: tuple[str, ...]) -> Iterator[Check]:
    for problem in problems:
        yield Check("settings", BAD, problem)
    if loaded is not None:
        for path in loaded.files:
            yield Check("settings", OK, f"{path} was read.")
    variables = sorted(name for name in os.environ if name.startswith("EASEL_"))
    if variables:
        yield Check("settings", OK, f"Set by variables: {', '.join(variables)}.")


def tokens() -> Iterator[Check]:
    try:
        secrets = read_secrets(os.environ, find_data_dir(os.environ))
    except ConfigError as error:
        for problem in error.problems:
            yield Check("tokens", BAD, problem)
        return
    for variable in SECRETS:
        source = secrets.sources.get(variable)
        yield Check("tokens", OK, f"{variable} is set (by {source})." if source else f"{variable} is not set.")


def hugging_face() -> Iterator[Check]:
    for name in HUGGING_FACE:
        value = os.environ.get(name)
        yield Check("hugging face", OK, f"{name} is {_without_password(value)}." if value else f"{name} is not set.")


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else url


def models(loaded: "Loaded") -> Iterator[Check]:
    specs = list(loaded.models)
    if not specs:
        yield Check("models", BAD, "No model is configured: add a [models.NAME] table to the config.")
    for spec in specs:
        mark, sentence = examine_model(spec, loaded.root)
        yield Check("models", mark, sentence)


# ---------------------------------------------------------------- server


def server(loaded: "Loaded") -> Iterator[Check]:
    holder = read_holder(loaded.data_dir)
    if holder is not None:
        yield _running(holder)
        return
    web = loaded.settings.get("web")
    if web is None or not web.enabled:
        yield Check("server", WARN, "No server runs, and web.enabled is false: there is no page.")
        return
    yield _port(web.host, web.port)
    if web.host not in ("127.0.0.1", "localhost", "::1"):
        yield Check("server", WARN, f"web.host is {web.host}: the start is refused while no API key exists.")


def _running(holder: Holder) -> Check:
    if not holder.url:
        return Check("server", WARN, f"Process {holder.pid or '?'} holds the data directory and has no address yet.")
    import httpx

    try:
        with httpx.Client(trust_env=False, timeout=_ANSWER_S) as client:
            answer = client.get(f"{holder.url.rstrip('/')}/readyz")
    except httpx.HTTPError as error:
        sentence = f"The server at {holder.url} (process {holder.pid}) does not answer ({type(error).__name__})."
        return Check("server", BAD, sentence)
    if answer.is_success:
        return Check("server", OK, f"A server runs at {holder.url} (process {holder.pid}) and is ready.")
    return Check("server", WARN, f"The server at {holder.url} (process {holder.pid}) runs but is not ready yet.")


def _port(host: str, port: int) -> Check:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        return Check("server", BAD, f"Nothing can listen at {host}:{port} ({why}): choose another web.port.")
    return Check("server", OK, f"No server runs; {host}:{port} is free for it.")
