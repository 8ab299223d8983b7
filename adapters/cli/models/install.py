"""`models use`, `download`, `add` and `remove`: through the server that runs, or in this process."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from adapters.cli.client.open import open_through
from adapters.cli.error_output import Failure
from adapters.cli.output import note, program, tell, tell_json
from adapters.cli.ports import Composition, Loaded
from adapters.cli.progress import Line
from bot.chat.texts import say_duration
from bot.models import ModelSpec
from bot.usecases import UseCases
from bot.usecases.model_views import addition_body, freed_body, installation_body, spec_body, terms_body

Body = dict[str, Any]
TRIALS = "trials"


class Manager(Protocol):
    """Choosing models, in JSON bodies as REST has them. Every method raises EaselError alone."""

    is_remote: bool

    async def terms(self, name: str) -> Body: ...

    async def use(self, name: str, body: Mapping[str, Any]) -> Body: ...

    async def standing(self, name: str) -> Body:
        """As it is now; waits a moment for news."""

    async def stop(self, name: str) -> None: ...

    async def picture(self, name: str) -> bytes: ...

    async def add(self, body: Mapping[str, Any]) -> Body: ...

    async def remove(self, name: str, *, keeps_files: bool) -> int: ...

    async def release(self) -> Body: ...


@dataclass(frozen=True)
class LocalManager:
    usecases: UseCases
    is_remote = False

    async def terms(self, name: str) -> Body:
        return terms_body(await self.usecases.choosing.terms(name))

    async def use(self, name: str, body: Mapping[str, Any]) -> Body:
        begun = await self.usecases.choosing.use(
            name,
            tasks=body["tasks"],
            accepted=body["accept_licence"],
            anyway=body["anyway"],
            only_fetch=body["only_fetch"],
        )
        return installation_body(begun)

    async def standing(self, name: str) -> Body:
        using = self.usecases.choosing
        installation = using.standing(using.find(name).name)
        assert installation is not None
        if not installation.is_over:
            await using.changes(installation)
        return installation_body(installation)

    async def stop(self, name: str) -> None:
        await self.usecases.choosing.stop(name)

    async def picture(self, name: str) -> bytes:
        installation = self.usecases.choosing.standing(name)
        trials = installation.trials if installation else ()
        return next(trial.picture.data for trial in trials if trial.picture is not None)

    async def add(self, body: Mapping[str, Any]) -> Body:
        values = dict(body)
        added = await self.usecases.catalogue.add(values.pop("source"), **values)
        return {"model": spec_body(added)} if isinstance(added, ModelSpec) else {"addition": addition_body(added)}

    async def remove(self, name: str, *, keeps_files: bool) -> int:
        return await self.usecases.catalogue.remove(name, keeps_files=keeps_files)

    async def release(self) -> Body:
        return freed_body(await self.usecases.choosing.release())


@asynccontextmanager
async def open_manager(composition: Composition, loaded: Loaded) -> AsyncIterator[Manager]:
    """Raises: StartupError."""
    from adapters.cli.client.http import open_remote
    from adapters.cli.client.http_models import RemoteManager

    @asynccontextmanager
    async def locally() -> AsyncIterator[Manager]:
        async with composition.open_application(loaded, only_own=True) as usecases:
            yield LocalManager(usecases)

    @asynccontextmanager
    async def remotely(holder: Any) -> AsyncIterator[Manager]:
        async with open_remote(loaded.data_dir, holder) as caller:
            yield RemoteManager(caller)

    async with open_through(loaded.data_dir, remotely, locally) as manager:
        yield manager


# ---------------------------------------------------------------- the commands


@dataclass(frozen=True, kw_only=True)
class Wish:
    name: str
    tasks: tuple[str, ...] = ()
    accepts: bool = False
    anyway: bool = False
    only_fetch: bool = False
    as_json: bool = False


async def use(composition: Composition, loaded: Loaded, wish: Wish, ask: Callable[[str], bool] | None = None) -> int:
    """Show the terms, have them accepted, and follow the installation to its end. Raises: EaselError."""
    standing = await install(composition, loaded, wish, ask)
    if wish.as_json:
        tell_json(standing)
    elif wish.only_fetch:
        tell(f"{standing['title']} is here. `{program()} models use {standing['name']}` puts it to use.")
    else:
        tell(f"{standing['title']} is in use for {', '.join(standing['tasks'])}.")
    return 0


async def install(composition: Composition, loaded: Loaded, wish: Wish, ask: Callable[[str], bool] | None) -> Body:
    """The installation at its end, and `picture`, the file of its test picture. Raises: EaselError."""
    async with open_manager(composition, loaded) as manager:
        terms = await manager.terms(wish.name)
        for line in terms_lines(terms):
            note(line)
        accepts = wish.accepts or not terms["must_accept"] or _accepted(terms, ask)
        if not accepts:
            raise Failure("The licence was not accepted, so nothing was fetched.", code="model_refused")
        body = {"tasks": list(wish.tasks), "accept_licence": True, "anyway": wish.anyway, "only_fetch": wish.only_fetch}
        name = terms["name"]
        standing = await _follow(manager, name, await manager.use(name, body))
        if standing["error"]:
            raise Failure(standing["error"], code="model_refused")
        return {**standing, "picture": await _tell_trials(manager, loaded, standing)}


def _accepted(terms: Body, ask: Callable[[str], bool] | None) -> bool:
    if ask is None:
        sentence = f"Its licence has to be accepted: read it, then add --accept-licence. {terms['licence_url']}"
        raise Failure(sentence.strip(), code="model_refused")
    return ask(f"Do you accept {'these licences' if len(terms['licences']) > 1 else 'this licence'}?")


def terms_lines(terms: Body) -> list[str]:
    """What has to be known, a line each."""
    lines = [f"{terms['title']} ({terms['repo']}): {', '.join(terms['tasks'])}."]
    if terms["missing_bytes"]:
        free = size(terms["free_bytes"])
        lines.append(f"To fetch: {size(terms['missing_bytes'])} of {size(terms['total_bytes'])}; {free} are free.")
    for licence in terms["licences"]:
        lines.append(f"Licence: {licence}.")
    if terms["licences"] and terms["licence_url"]:
        lines.append(f"Read it at {terms['licence_url']}")
    if not terms["commercial"]:
        lines.append("It is not for commercial use.")
    if terms["gated"]:
        lines.append("Its page asks you to accept something first; then HF_TOKEN has to be set.")
    if terms["refused"]:
        lines.append(f"Left out, because only safetensors are loaded: {', '.join(terms['refused'][:3])}.")
    lines.append(fit_line(terms["fits"]))
    return lines


def fit_line(fits: Body) -> str:
    """How it would run on this machine."""
    took = f"; {say_duration(fits['seconds'], str)} for one, until measured" if fits["seconds"] else ""
    how = {
        "resident": f"It fits on the device{took}.",
        "offload": f"It fits on the device with parts that come and go{took}.",
        "cpu": f"It runs on the CPU{took}.",
    }
    if fits["place"] in how:
        return " ".join([how[fits["place"]], *fits.get("words", ())])
    return f"It does not fit this machine: it needs {fits['lacks']}."


def size(number: int) -> str:
    """Bytes for people."""
    if number >= 2**30:
        return f"{number / 2**30:.1f} GiB"
    return f"{number / 2**20:.0f} MiB" if number >= 2**20 else f"{number / 2**10:.0f} KiB"


async def _follow(manager: Manager, name: str, standing: Body) -> Body:
    try:
        with Line() as line:
            while not standing["is_over"]:
                line.show(arrival_line(standing), kind=standing["arrival"]["stage"])
                standing = await manager.standing(name)
    except asyncio.CancelledError:
        if manager.is_remote:
            note(f"The server goes on with it. `{program()} models stop {name}` gives it up.")
        else:
            await manager.stop(name)
            note("Stopped. What was fetched stays for the next time.")
        raise
    return standing


def arrival_line(standing: Body) -> str:
    arrival = standing["arrival"]
    stage, title = arrival["stage"], standing["title"]
    if stage == "downloading" and arrival["total"]:
        percent = 100 * arrival["done"] // arrival["total"]
        rate = f", {size(int(arrival['rate']))}/s" if arrival["rate"] else ""
        left = f", {say_duration(arrival['eta_s'], str)} left" if arrival["eta_s"] is not None else ""
        return f"Downloading {title}: {percent} %, {size(arrival['done'])} of {size(arrival['total'])}{rate}{left}"
    return {"checking": f"Checking {title}", "loading": f"Loading {title}", "trying": f"Trying {title}"}.get(
        stage, f"Getting {title} ready"
    )


async def _tell_trials(manager: Manager, loaded: Loaded, standing: Body) -> str | None:
    name, written = standing["name"], None
    for trial in standing["trials"]:
        if trial["has_picture"] and written is None:
            written = await asyncio.to_thread(_write, loaded.data_dir / TRIALS, name, await manager.picture(name))
            note(f"A test picture took {trial['seconds']:.1f} s: {written}")
        elif not trial["has_picture"]:
            note(f"A test answer took {trial['seconds']:.1f} s: {trial['text']}")
    return str(written) if written else None


def _write(folder: Path, name: str, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    path.write_bytes(data)
    return path


async def stop(composition: Composition, loaded: Loaded, name: str) -> int:
    async with open_manager(composition, loaded) as manager:
        await manager.stop(name)
    tell("Stopped. What was fetched stays for the next time.")
    return 0


async def add(composition: Composition, loaded: Loaded, body: Mapping[str, Any], *, as_json: bool) -> int:
    async with open_manager(composition, loaded) as manager:
        added = await manager.add(body)
    if as_json:
        tell_json(added)
    elif "addition" in added:
        one = added["addition"]
        tell(f"{one['name']} is kept ({one['kind']}{' for ' + one['family'] if one['family'] else ''}).")
    else:
        name = added["model"]["name"]
        tell(f"{name} is known now. `{program()} models use {name}` fetches and tries it.")
    return 0


async def remove(composition: Composition, loaded: Loaded, name: str, *, keeps_files: bool, as_json: bool) -> int:
    async with open_manager(composition, loaded) as manager:
        freed = await manager.remove(name, keeps_files=keeps_files)
    if as_json:
        tell_json({"removed": name, "freed_bytes": freed})
    else:
        tell(f"{name} is removed{f', {size(freed)} are free again' if freed else ''}.")
    return 0


async def release(composition: Composition, loaded: Loaded, *, as_json: bool) -> int:
    """The memory of models that nothing runs on."""
    async with open_manager(composition, loaded) as manager:
        freed = await manager.release()
    if as_json:
        tell_json(freed)
        return 0
    names = ", ".join(freed["models"])
    tell(f"{names}: unloaded, {size(freed['freed_mb'] * 2**20)} are free again." if names else "No model was idle.")
    if freed["busy"]:
        note(f"At work, and still loaded: {', '.join(freed['busy'])}.")
    return 0


def asker() -> Callable[[str], bool] | None:
    """Asks on the terminal; None where nobody could answer."""
    if not sys.stdin.isatty():
        return None

    def ask(question: str) -> bool:
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().casefold() in ("y", "yes")

    return ask
