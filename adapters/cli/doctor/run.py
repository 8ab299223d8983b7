"""`easel doctor`: diagnoses the installation. Works while a server is running, and changes nothing."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cli.doctor.check import BAD, WARN, Check
from adapters.cli.error_output import FAILED
from adapters.cli.output import print_aligned, print_json, print_line
from bot.errors import ConfigError

if TYPE_CHECKING:
    from adapters.cli.ports import CompositionRoot, LoadedConfig

MARK_WIDTH = 5


def run_checks(composition: "CompositionRoot", config: Path | None) -> Iterator[Check]:
    """Run every check and yield its results as they become known."""
    from adapters.cli.doctor import chat, compiled, data, hardening, plugin_checks, preflight, system, webhook_addresses
    from bot.runtime.logs import LogsSettings, set_up_logging

    set_up_logging(LogsSettings(), data_dir=None, console=None)  # the results are printed instead
    loaded, problems = _load_config(composition, config)
    yield from _run_safely("programs", system.check_programs)
    devices: list[Mapping[str, Any]] = []
    yield from _run_safely("hardware", lambda: _check_hardware(composition, devices))
    yield from _run_safely("images", lambda: hardening.check_image_sandbox(composition))
    yield from _run_safely("settings", lambda: system.check_settings(loaded, problems))
    yield from _run_safely("tokens", system.check_tokens)
    yield from _run_safely("hugging face", system.check_hugging_face)
    yield from _run_safely("data", data.check_data_dir)
    if loaded is None:
        yield Check("settings", WARN, "Models, database and server were not checked: fix the settings first.")
        return
    for about, run_check in (
        ("database", lambda: data.check_database(loaded)),
        ("keys", lambda: data.check_keys(loaded)),
        ("models", lambda: system.check_models(loaded)),
        ("models", lambda: compiled.check_builds(composition, loaded)),
        ("models", lambda: preflight.preflight_checks(loaded, devices)),
        ("chats", lambda: chat.check_chat_platforms(loaded)),
        ("plugins", lambda: plugin_checks.check_plugins(loaded)),
        ("webhooks", lambda: webhook_addresses.check_webhooks(loaded)),
        ("server", lambda: system.check_server(loaded)),
    ):
        yield from _run_safely(about, run_check)


def _check_hardware(composition: "CompositionRoot", devices: list[Mapping[str, Any]]) -> Iterator[Check]:
    """Also adds the devices to `devices`."""
    from adapters.cli.doctor import system

    devices += system.probe_devices(composition)
    yield from system.check_hardware(devices)


def _load_config(composition: "CompositionRoot", config: Path | None) -> "tuple[LoadedConfig | None, tuple[str, ...]]":
    try:
        return composition.load(config), ()
    except ConfigError as error:
        return None, error.problems


def _run_safely(about: str, run_check: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """An exception in one check becomes one bad result; the others still run."""
    try:
        yield from run_check()
    except Exception as error:
        yield Check(about, BAD, f"This check failed itself ({type(error).__name__}: {str(error)[:200]}).")


def print_checks(checks: Iterator[Check], *, as_json: bool) -> int:
    """Print each result as it arrives, then a summary; the exit code is not 0 if anything does not work."""
    done: list[Check] = []
    for check in checks:
        if not as_json:
            if not done or done[-1].about != check.about:
                print_line(check.about)
            print_aligned(check.mark, check.sentence, width=MARK_WIDTH)
        done.append(check)
    bad = sum(check.mark == BAD for check in done)
    warnings = sum(check.mark == WARN for check in done)
    if as_json:
        print_json({"ok": not bad, "checks": [vars(check) for check in done]})
    elif bad:
        print_line(f"\n{_count_noun(bad, 'problem')} found; the lines marked {BAD} say how to fix them.")
    else:
        also = f" ({_count_noun(warnings, 'warning')})" if warnings else ""
        print_line(f"\nNo problems found{also}.")
    return FAILED if bad else 0


def _count_noun(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
