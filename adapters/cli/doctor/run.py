"""`doctor`: says in plain words what works here and what does not. Works while a server runs, and changes nothing."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cli.doctor.check import BAD, WARN, Check
from adapters.cli.error_output import FAILED
from adapters.cli.output import tell, tell_json
from bot.errors import ConfigError

if TYPE_CHECKING:
    from adapters.cli.ports import Composition, Loaded


def examine(composition: "Composition", config: Path | None) -> Iterator[Check]:
    """Every check, as soon as it is known."""
    from adapters.cli.doctor import chat, data, preflight, system
    from bot.runtime.logs import LogsSettings, set_up_logging

    set_up_logging(LogsSettings(), data_dir=None, console=None)  # what is found is told here
    loaded, problems = _load(composition, config)
    yield from _guarded("programs", system.programs)
    devices: list[Mapping[str, Any]] = []
    yield from _guarded("hardware", lambda: _hardware(composition, devices))
    yield from _guarded("settings", lambda: system.settings(loaded, problems))
    yield from _guarded("tokens", system.tokens)
    yield from _guarded("hugging face", system.hugging_face)
    yield from _guarded("data", data.data_dir)
    if loaded is None:
        yield Check("settings", WARN, "Models, database and server were not looked at: mend the settings first.")
        return
    for name, look in (
        ("database", lambda: data.database(loaded)),
        ("models", lambda: system.models(loaded)),
        ("models", lambda: preflight.predictions(loaded, devices)),
        ("chats", lambda: chat.chats(loaded)),
        ("server", lambda: system.server(loaded)),
    ):
        yield from _guarded(name, look)


def _hardware(composition: "Composition", found: list[Mapping[str, Any]]) -> Iterator[Check]:
    """Also puts the devices into `found`."""
    from adapters.cli.doctor import system

    found += system.devices_of(composition)
    yield from system.hardware(found)


def _load(composition: "Composition", config: Path | None) -> "tuple[Loaded | None, tuple[str, ...]]":
    try:
        return composition.load(config), ()
    except ConfigError as error:
        return None, error.problems


def _guarded(about: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """A check that fails itself is one bad line; the others go on."""
    try:
        yield from look()
    except Exception as error:
        yield Check(about, BAD, f"This could not be looked at ({type(error).__name__}: {str(error)[:200]}).")


def show(checks: Iterator[Check], *, as_json: bool, closing: str = "Everything needed works") -> int:
    """Print each line as it comes, then `closing`; the exit code is not 0 when something would not work."""
    seen: list[Check] = []
    for check in checks:
        if not as_json:
            if not seen or seen[-1].about != check.about:
                tell(f"{check.about}")
            tell(f"  {check.mark:<5}{check.sentence}")
        seen.append(check)
    bad = sum(check.mark == BAD for check in seen)
    warned = sum(check.mark == WARN for check in seen)
    if as_json:
        tell_json({"ok": not bad, "checks": [vars(check) for check in seen]})
    elif bad:
        tell(f"\n{_count(bad, 'thing')} would not work; the lines marked {BAD} say what to do.")
    else:
        also = f" ({_count(warned, 'warning')})" if warned else ""
        tell(f"\n{closing}{also}.")
    return FAILED if bad else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
