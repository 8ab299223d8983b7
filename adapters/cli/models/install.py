"""`models use`, `download`, `cancel`, `add`, `scan`, `remove` and `unload`: through the server, or in this process."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.cli.error_output import Failure
from adapters.cli.models.model_client import Body, ModelClient, open_model_client
from adapters.cli.output import print_json, print_line, print_note, print_table, program_name, with_image_wording
from adapters.cli.ports import CompositionRoot, LoadedConfig
from adapters.cli.progress import ProgressLine
from bot.chat.texts import format_duration
from bot.errors import ModelRefused
from bot.runtime.private_files import make_private_folder
from bot.usecases.model_catalogue import as_utf8

TEST_IMAGE_FOLDER = "trials"


@dataclass(frozen=True, kw_only=True)
class InstallRequest:
    name: str
    tasks: tuple[str, ...] = ()
    accept_licence: bool = False
    force: bool = False
    download_only: bool = False
    weights: str = ""
    precision: str = ""
    as_json: bool = False

    @property
    def formats(self) -> dict[str, str]:
        """The number formats that were asked for."""
        given = {"weights": self.weights, "precision": self.precision}
        return {name: value for name, value in given.items() if value}


async def use_model(
    composition: CompositionRoot,
    loaded: LoadedConfig,
    request: InstallRequest,
    confirm: Callable[[str], bool] | None = None,
) -> int:
    """Show the terms, have them accepted, and follow the installation to its end. Raises: EaselError."""
    status = await install_model(composition, loaded, request, confirm)
    if request.as_json:
        print_json(status)
    elif request.download_only:
        print_line(f"{status['title']} is downloaded. `{program_name()} models use {status['name']}` switches to it.")
    else:
        formats = "".join(f", {name} {status[name]}" for name in request.formats)
        print_line(f"{status['title']} is in use for {', '.join(status['tasks'])}{formats}.")
    return 0


async def install_model(
    composition: CompositionRoot, loaded: LoadedConfig, request: InstallRequest, confirm: Callable[[str], bool] | None
) -> Body:
    """Install a model and return its final status, with the path of its test image as `picture`. Raises: EaselError."""
    async with open_model_client(composition, loaded) as client:
        terms = await client.read_terms(request.name, request.formats)
        for line in format_terms(terms):
            print_note(line)
        is_accepted = request.accept_licence or not terms["must_accept"] or _confirm_licence(terms, confirm)
        if not is_accepted:
            raise Failure("The licence was not accepted, so nothing was downloaded.", code="model_refused")
        body = {
            "tasks": list(request.tasks),
            "accept_licence": True,
            "force": request.force,
            "download_only": request.download_only,
            "weights": request.weights,
            "precision": request.precision,
        }
        name = terms["name"]
        status = await follow_status(client, await client.start_install(name, body))
        if status["error"]:
            raise Failure(status["error"], code="model_refused")
        return {**status, "picture": await _report_smoke_tests(client, loaded, status)}


async def use_adapter(
    composition: CompositionRoot, loaded: LoadedConfig, name: str, adapter: str, *, is_alone: bool, as_json: bool
) -> int:
    """Switch a model to an adapter that was trained here, or to none. Raises: EaselError."""
    if not is_alone:
        raise Failure("--adapter cannot be combined with --for, --weights or --precision.", code="invalid_option")
    async with open_model_client(composition, loaded) as client:
        status = await client.use_adapter(name, adapter)
    used = ", ".join(status["adapters"])
    if as_json:
        print_json(status)
    else:
        print_line(
            f"{status['title']} uses {f'the adapter {used}' if used else 'no adapter'} from the next request on."
        )
    return 0


def _confirm_licence(terms: Body, confirm: Callable[[str], bool] | None) -> bool:
    if confirm is None:
        sentence = f"You must accept its licence: read it, then add --accept-licence. {terms['licence_url']}"
        raise Failure(sentence.strip(), code="model_refused")
    return confirm(f"Do you accept {'these licences' if len(terms['licences']) > 1 else 'this licence'}?")


def format_terms(terms: Body) -> list[str]:
    """What to know before the installation, one line each."""
    lines = [f"{terms['title']} ({terms['repo']}): {', '.join(terms['tasks'])}."]
    if terms["upscale"]:
        lines.append(f"{with_image_wording(terms['upscale'])}.".capitalize())
    if terms["missing_bytes"]:
        free = format_size(terms["free_bytes"])
        missing, total = format_size(terms["missing_bytes"]), format_size(terms["total_bytes"])
        lines.append(f"Download: {missing} of {total}; {free} free on the disk.")
    for licence in terms["licences"]:
        lines.append(f"Licence: {licence}.")
    if terms["licences"] and terms["licence_url"]:
        lines.append(f"Read it at {terms['licence_url']}")
    if not terms["commercial"]:
        lines.append("Not for commercial use.")
    if terms["gated"]:
        lines.append("The repository is gated: accept its terms on its page, then set HF_TOKEN.")
    if terms["refused"]:
        lines.append(f"Skipped, because only safetensors are loaded: {', '.join(terms['refused'][:3])}.")
    return [*lines, format_fit(terms["fits"]), *terms.get("together", ())]


def format_fit(fits: Body) -> str:
    """How it would run on this machine."""
    estimate = f"; estimate: {format_duration(fits['seconds'], str)} per request" if fits["seconds"] else ""
    places = {
        "resident": f"It fits on the device{estimate}.",
        "offload": f"It fits on the device with offloading{estimate}.",
        "cpu": f"It runs on the CPU{estimate}.",
    }
    if fits["place"] in places:
        return " ".join([places[fits["place"]], *fits["notes"]])
    return f"It does not fit this machine: it needs {fits['missing']}."


def format_size(number: int) -> str:
    """Bytes in a readable unit."""
    if number >= 2**30:
        return f"{number / 2**30:.1f} GiB"
    return f"{number / 2**20:.0f} MiB" if number >= 2**20 else f"{number / 2**10:.0f} KiB"


async def follow_status(client: ModelClient, status: Body) -> Body:
    """Show the progress of an installation, or of a build, until it is over; returns its last status."""
    name = status["name"]
    try:
        with ProgressLine() as line:
            while not status["is_over"]:
                line.show(format_install_progress(status), kind=status["install_progress"]["stage"])
                status = await client.wait_for_status(name)
    except asyncio.CancelledError:
        if client.is_remote:
            print_note(f"The server continues. `{program_name()} models cancel {name}` cancels it.")
        else:
            print_note((await client.cancel_install(name))["error"])
        raise
    return status


def format_install_progress(status: Body) -> str:
    progress = status["install_progress"]
    stage, title = progress["stage"], status["title"]
    if stage == "downloading" and progress["total"]:
        percent = 100 * progress["done"] // progress["total"]
        done, total = format_size(progress["done"]), format_size(progress["total"])
        rate = f", {format_size(int(progress['rate']))}/s" if progress["rate"] else ""
        left = f", {format_duration(progress['eta_s'], str)} left" if progress["eta_s"] is not None else ""
        return f"Downloading {title}: {percent} %, {done} of {total}{rate}{left}"
    part = f", {progress['done']} of {progress['total']}" if progress["total"] and stage == "trying" else ""
    stages = {
        "checking": f"Verifying {title}",
        "loading": f"Loading {title}",
        "trying": f"Testing {title}{part}",
        "exporting": f"Exporting {title}",
        "compiling": f"Compiling {title}",
    }
    return stages.get(stage, f"Preparing {title}")


async def _report_smoke_tests(client: ModelClient, loaded: LoadedConfig, status: Body) -> str | None:
    name, path = status["name"], None
    for test in status["trials"]:
        if test["has_picture"] and path is None:
            path = await asyncio.to_thread(
                _write_image, loaded.data_dir / TEST_IMAGE_FOLDER, name, await client.read_test_image(name)
            )
            print_note(f"Test image generated in {test['seconds']:.1f} s: {path}")
        elif not test["has_picture"]:
            print_note(f"Test answer generated in {test['seconds']:.1f} s: {test['text']}")
        for note in test["notes"]:
            print_note(note)
    return str(path) if path else None


def _write_image(folder: Path, name: str, data: bytes) -> Path:
    make_private_folder(folder)
    path = folder / f"{name}.png"
    path.write_bytes(data)
    return path


async def cancel_download(composition: CompositionRoot, loaded: LoadedConfig, name: str) -> int:
    async with open_model_client(composition, loaded) as client:
        status = await client.cancel_install(name)
    print_line(status["error"])
    return 0


def require_utf8(path: str) -> None:
    """Raises: ModelRefused: paths are sent as JSON."""
    if as_utf8(path) != path:
        raise ModelRefused(as_utf8(path)[:200], "name_encoding")


async def add_model(
    composition: CompositionRoot, loaded: LoadedConfig, body: Mapping[str, Any], *, as_json: bool
) -> int:
    async with open_model_client(composition, loaded) as client:
        added = await client.add_model(body)
    if as_json:
        print_json(added)
    elif "addition" in added:
        addon = added["addition"]
        family = f" for {addon['family']}" if addon["family"] else ""
        print_line(f"Installed {addon['name']} ({addon['kind']}{family}).")
        if addon["trigger_words"]:
            print_note(f"Its author recommends these words for prompts: {', '.join(addon['trigger_words'])}.")
    else:
        name = added["model"]["name"]
        print_line(f"Added {name}. `{program_name()} models use {name}` installs and tests it.")
    return 0


async def scan_models(composition: CompositionRoot, loaded: LoadedConfig, folder: str, *, as_json: bool) -> int:
    """Adopt the models in another program's folder, and say of each file what it was adopted as or why not."""
    async with open_model_client(composition, loaded) as client:
        scanned = await client.scan_models(folder)
    if as_json:
        print_json(scanned)
        return 0
    print_table(("File", "Result"), [(file["path"], _format_scanned(file)) for file in scanned["files"]])
    if any(file["outcome"] == "adopted" and file["kind"] == "model" for file in scanned["files"]):
        print_note(f"`{program_name()} models use NAME` tests a model and switches to it.")
    return 0


def _format_scanned(file: Body) -> str:
    kinds = {"model": "model", "lora": "LoRA", "inversion": "textual inversion"}
    if file["outcome"] == "skipped":
        return f"skipped: {file['reason']}"
    family = f" for {file['family']}" if file["family"] else ""
    return f"{'adopted as' if file['outcome'] == 'adopted' else 'already'} {kinds[file['kind']]} {file['name']}{family}"


async def remove_model(
    composition: CompositionRoot, loaded: LoadedConfig, name: str, *, keep_files: bool, as_json: bool
) -> int:
    async with open_model_client(composition, loaded) as client:
        freed = await client.remove_model(name, keep_files=keep_files)
    if as_json:
        print_json({"removed": name, "freed_bytes": freed})
    else:
        print_line(f"Removed {name}{f' and freed {format_size(freed)}' if freed else ''}.")
    return 0


async def unload_models(composition: CompositionRoot, loaded: LoadedConfig, *, as_json: bool) -> int:
    """Unload the models that no job uses."""
    async with open_model_client(composition, loaded) as client:
        result = await client.unload_models()
    if as_json:
        print_json(result)
        return 0
    names, freed = ", ".join(result["models"]), format_size(result["freed_mb"] * 2**20)
    print_line(f"Unloaded {names} and freed {freed}." if names else "No model was idle.")
    if result["busy"]:
        print_note(f"Still loaded because jobs are running: {', '.join(result['busy'])}.")
    return 0


def terminal_confirm() -> Callable[[str], bool] | None:
    """A function that asks yes or no on the terminal; None without a terminal."""
    if not sys.stdin.isatty():
        return None

    def ask(question: str) -> bool:
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().casefold() in ("y", "yes")

    return ask
