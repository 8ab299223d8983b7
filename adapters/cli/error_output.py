"""Turns whatever went wrong into one sentence and an exit code; never a traceback."""

import os
import secrets
from pathlib import Path

from adapters.cli.output import note, program, tell_json
from bot import errors
from bot.error_texts import explain

FAILED, BAD_USAGE, INTERRUPTED = 1, 2, 130
_INPUT = {"invalid_option", "too_large", "unsupported_media", "config"}
"""Codes of what the person typed or handed over; everything else failed on our side."""


class Failure(errors.EaselError):
    """Something the command line itself, or the server it asked, has to say."""

    def __init__(self, sentence: str, *, code: str = "failed", incident: str = "") -> None:
        super().__init__()
        self.sentence = sentence
        self.code = code
        self.incident = incident

    def __str__(self) -> str:
        return self.sentence


class BadInput(Failure):
    """A file, folder or flag that cannot be used as it is."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, code="invalid_option")


def report(error: BaseException, *, as_json: bool, log_file: Path | None = None) -> int:
    """Say what went wrong on stderr (and in JSON on stdout); the exit code."""
    error = _cause(error)
    code, incident = getattr(error, "code", "internal"), getattr(error, "incident", "")
    if not isinstance(error, errors.EaselError):
        incident = secrets.token_hex(4)
        code, log_file = "internal", _log(error, incident, log_file)
    told = sentences(error, incident, log_file)
    for sentence in told:
        note(f"easel: {sentence}")
    if as_json:
        tell_json({"error": {"code": code, "message": " ".join(told), "incident": incident or None}})
    return BAD_USAGE if code in _INPUT else FAILED


def _cause(error: BaseException) -> BaseException:
    """The first error of ours inside a group of them, or the first at all."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    ours = error.subgroup(errors.EaselError)
    return _cause((ours or error).exceptions[0])


def sentences(error: BaseException, incident: str = "", log_file: Path | None = None) -> list[str]:
    match error:
        case errors.ConfigError():
            return list(error.problems)
        case Failure() | errors.StartupError():
            return [error.sentence]
        case errors.UserError():
            return [explain(error)]
        case errors.EaselError():
            return [explain(error, incident=incident), f"`{program()} doctor` looks for the cause."]
    where = f" {log_file} has the details." if log_file else ""
    return [f"Something went wrong here (code {incident}).{where} `{program()} doctor` looks for the cause."]


def _log(error: BaseException, incident: str, log_file: Path | None) -> Path | None:
    """Keep the traceback where the owner can find it, and nowhere else; the file, if there is one."""
    import structlog

    from bot.runtime.logs import LogsSettings, set_up_logging
    from bot.settings import find_data_dir, read_secrets

    if log_file is None:
        data_dir = find_data_dir(os.environ)
        try:
            values = read_secrets(os.environ, data_dir).values()
        except errors.ConfigError:
            values = ()
        set_up_logging(LogsSettings(), data_dir=data_dir, secrets=values, name="commands", console=None)
        log_file = data_dir / "logs" / "commands.log"
    log = structlog.get_logger("easel")
    log.error("a command failed", action="command_failed", incident=incident, exc_info=error)
    return log_file if log_file.exists() else None
