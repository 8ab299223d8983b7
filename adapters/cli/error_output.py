"""Turns any error into one sentence and an exit code, never a traceback."""

import os
import secrets
from pathlib import Path

from adapters.cli.output import print_json, print_note, program_name
from bot import errors
from bot.error_texts import explain

FAILED, BAD_USAGE, INTERRUPTED = 1, 2, 130
_INPUT_ERROR_CODES = {"invalid_option", "too_large", "unsupported_media", "config"}
"""Codes of invalid input; any other error is a failure of the program."""


class Failure(errors.EaselError):
    """An error of the command line itself or of the server that it called."""

    def __init__(self, sentence: str, *, code: str = "failed", incident: str = "") -> None:
        super().__init__()
        self.sentence = sentence
        self.code = code
        self.incident = incident

    def __str__(self) -> str:
        return self.sentence


class BadInput(Failure):
    """A file, folder or option that cannot be used."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, code="invalid_option")


def report_error(error: BaseException, *, as_json: bool, log_file: Path | None = None) -> int:
    """Print the error on stderr (as JSON also on stdout) and return the exit code."""
    error = _first_error(error)
    code, incident = getattr(error, "code", "internal"), getattr(error, "incident", "")
    if not isinstance(error, errors.EaselError):
        incident = secrets.token_hex(4)
        code, log_file = "internal", _log_error(error, incident, log_file)
    lines = error_sentences(error, incident, log_file)
    for sentence in lines:
        print_note(f"easel: {sentence}")
    if as_json:
        print_json({"error": {"code": code, "message": " ".join(lines), "incident": incident or None}})
    return BAD_USAGE if is_bad_input(error) else FAILED


def is_bad_input(error: BaseException) -> bool:
    return getattr(error, "code", "") in _INPUT_ERROR_CODES


def is_broken_pipe(error: BaseException) -> bool:
    """The reader of stdout closed it, as `head` does."""
    return isinstance(_first_error(error), BrokenPipeError)


def _first_error(error: BaseException) -> BaseException:
    """The first EaselError in an exception group, or its first exception."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    ours = error.subgroup(errors.EaselError)
    return _first_error((ours or error).exceptions[0])


_FILES_ARE_NAMED = {
    "needs_image": "This needs an image: name its file.",
    "needs_images": "This needs {allowed} images or more: name their files.",
    "needs_init": "{option} only works with an input image: add --image FILE, or leave {option} out.",
}
"""By problem, where the sentences of the chats speak of attachments."""


def error_sentences(error: BaseException, incident: str = "", log_file: Path | None = None) -> list[str]:
    match error:
        case errors.ConfigError():
            return list(error.problems)
        case Failure() | errors.StartupError():
            return [error.sentence]
        case errors.InvalidOption() if error.problem in _FILES_ARE_NAMED:
            return [_FILES_ARE_NAMED[error.problem].format(option=error.option, allowed=error.allowed)]
        case errors.UserError():
            return [explain(error)]
        case errors.EaselError():
            return [explain(error, incident=incident), f"Run `{program_name()} doctor` to find the cause."]
    where = f" Details are in {log_file}." if log_file else ""
    return [f"Something went wrong (code {incident}).{where} Run `{program_name()} doctor` to find the cause."]


def _log_error(error: BaseException, incident: str, log_file: Path | None) -> Path | None:
    """Write the traceback to the log file only, and return the file if it exists."""
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
