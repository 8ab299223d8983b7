"""Logging: one stream of events from structlog and all libraries, without secrets.

Each event is a plain sentence with a stable `action` and, during a job, its `job_id` (bound as a contextvar). User
texts (prompts, questions, answers) are logged at DEBUG only. Secrets are redacted three times: in the event's values,
in each handler's records, and in the finished line, including tracebacks.
"""

import logging
import logging.handlers
import os
import re
import sys
import threading
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TextIO
from urllib.parse import quote

import structlog

HIDDEN = "[hidden]"
QUIET_LOGGERS = (
    "httpx",
    "httpx2",
    "httpcore",
    "httpcore2",
    "aiohttp",
    "aiosqlite",
    "alembic",
    "discord",
    "telegram",
    "uvicorn.access",
    "multipart",
    "python_multipart",
    "asyncio",
    "PIL",
)
"""Libraries that log much at INFO or DEBUG, some of them URLs with tokens."""
USER_TEXT_KEYS = frozenset(
    {"prompt", "negative_prompt", "question", "text", "texts", "caption", "answer", "options", "line", "q", "needle"}
)
"""Keys whose values are user texts."""
_SHORTEST = 6


@dataclass(frozen=True, kw_only=True)
class LogsSettings:
    """`[logs]` in the config."""

    bounds: ClassVar[Mapping[str, tuple[float | None, float | None]]] = {"file_mb": (1, None)}

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum level; prompts are logged at debug only."""
    format: Literal["auto", "console", "json"] = "auto"
    """Format on the terminal; auto: console on a terminal, JSON lines elsewhere."""
    file: bool = True
    """Also write JSON lines to `logs/` in the data directory."""
    file_mb: int = 10
    """Size at which a log file is rotated, MiB."""
    files: int = 5
    """Number of rotated files to keep."""


# ---------------------------------------------------------------- redaction

_SHAPES = re.compile(
    r"(?P<before>\bBearer\s+|://[^\s/:@]*:|/(?:webhooks|interactions)/\d+/)[^\s/@\"'\\]{6,}"
    r"|\b[A-Za-z0-9_-]{23,28}\.[A-Za-z0-9_-]{6,7}\.[A-Za-z0-9_-]{27,}"  # Discord
    r"|(?<!\d)\d{6,12}:[A-Za-z0-9_-]{30,}"  # Telegram
    r"|\bhf_[A-Za-z0-9_]{16,}"  # Hugging Face
    r"|\b[0-9a-f]{8}\.[A-Za-z0-9_-]{40,}",  # our own API keys
)


class Redactor:
    """Redacts known secrets, and everything that looks like a token."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self.add_secrets(*values)

    def add_secrets(self, *values: str) -> None:
        """Redact these values too, also URL-encoded."""
        long_enough = [value for value in values if len(value) >= _SHORTEST]
        self._values.update(long_enough, (quote(value, safe="") for value in long_enough))
        if self._values:
            self._known = re.compile("|".join(map(re.escape, sorted(self._values, key=len, reverse=True))))

    def redact_text(self, text: str) -> str:
        if self._known:
            text = self._known.sub(HIDDEN, text)
        return _SHAPES.sub(lambda match: (match.group("before") or "") + HIDDEN, text)

    def redact_value(self, value: Any) -> Any:
        """Redact text at any nesting level; other objects become their redacted repr."""
        if isinstance(value, str):
            return self.redact_text(value)
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, bytes):
            return f"{len(value)} bytes"
        if isinstance(value, Mapping):
            return {self.redact_text(str(key)): self.redact_value(one) for key, one in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.redact_value(one) for one in value]
        return self.redact_text(str(value) if isinstance(value, Path | BaseException) else repr(value))

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The structlog processor. `exc_info` becomes text later and is redacted there."""
        return {
            key: value if key == "exc_info" or key.startswith("_") else self.redact_value(value)
            for key, value in event.items()
        }


class RedactingFilter(logging.Filter):
    """Redacts a record, for handlers with foreign formatters."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str):
            record.msg, record.args = self._redactor.redact_text(_message_of(record)), None
        elif isinstance(record.msg, dict):
            record.msg = self._redactor(None, "", record.msg)
        else:
            record.msg, record.args = self._redactor.redact_text(str(record.msg)), None
        if record.exc_info and not record.exc_text and record.exc_info[0] is not None:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._redactor.redact_text(record.exc_text)
        return True


def _message_of(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # the arguments do not match the format string
        return f"{record.msg} {record.args}"


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Redacts the finished line."""

    def __init__(self, redactor: Redactor, **more: Any) -> None:
        super().__init__(**more)
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.redact_text(super().format(record))


def hide_user_text(_logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Hide prompts and answers above DEBUG."""
    if method != "debug" and event.get("level") != "debug":
        for key in USER_TEXT_KEYS & event.keys():
            event[key] = HIDDEN
    return event


# ---------------------------------------------------------------- setup


def set_up_logging(
    settings: LogsSettings,
    *,
    data_dir: Path | None,
    secrets: Iterable[str] = (),
    name: str = "easel",
    console: TextIO | None = sys.stderr,
) -> Redactor:
    """Send every event to `console` (None: nowhere) and to `logs/NAME.log` in the data directory.

    Returns the redactor, which accepts further secrets. May be called again.
    """
    redactor = Redactor(secrets)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_user_text,
        redactor,
    ]
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    handlers = [*_console_handlers(console, settings, shared, redactor), *_file_handlers(settings, data_dir, name)]
    for handler in handlers:
        if handler.formatter is None:
            handler.setFormatter(_json_formatter(shared, redactor))
    _install_handlers(handlers, level, redactor)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    return redactor


def _console_handlers(
    console: TextIO | None, settings: LogsSettings, shared: list[Any], redactor: Redactor
) -> list[logging.Handler]:
    if console is None:
        return []
    handler = logging.StreamHandler(console)
    if settings.format == "console" or (settings.format == "auto" and console.isatty()):
        colours = console.isatty() and "NO_COLOR" not in os.environ
        renderer = structlog.dev.ConsoleRenderer(
            colors=colours, exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
        handler.setFormatter(
            _Formatter(
                redactor,
                foreign_pre_chain=shared,
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            )
        )
    return [handler]


def _json_formatter(shared: list[Any], redactor: Redactor) -> _Formatter:
    return _Formatter(
        redactor,
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redactor,
            _order_keys,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )


def _order_keys(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    first = [key for key in ("timestamp", "level", "event", "action", "job_id") if key in event]
    return {key: event[key] for key in [*first, *event]}


class _QuietFile(logging.handlers.RotatingFileHandler):
    """Ignores write errors: a full disk must not flood the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def _open(self) -> Any:
        stream = super()._open()
        if os.name == "posix":
            os.chmod(self.baseFilename, 0o600)
        return stream


def _file_handlers(settings: LogsSettings, data_dir: Path | None, name: str) -> list[logging.Handler]:
    if data_dir is None or not settings.file:
        return []
    folder = data_dir / "logs"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:  # the terminal still logs; `doctor` reports problems of the data directory
        return []
    most = settings.file_mb * 2**20
    return [_QuietFile(folder / f"{name}.log", maxBytes=most, backupCount=settings.files, encoding="utf-8", delay=True)]


def _install_handlers(handlers: list[logging.Handler], level: int, redactor: Redactor) -> None:
    """Route everything through our handlers; handlers of others stay, with redaction."""
    root = logging.getLogger()
    for old in [one for one in root.handlers if getattr(one, "is_easels", False)]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.is_easels = True  # type: ignore[attr-defined]
        root.addHandler(handler)
    root.setLevel(level)
    for library in QUIET_LOGGERS:
        logging.getLogger(library).setLevel(max(level, logging.WARNING))
    guard_handlers(redactor)
    logging.captureWarnings(True)
    threading.excepthook = _log_thread_error


def guard_handlers(redactor: Redactor) -> None:
    """Add the redacting filter to all handlers, including those of libraries."""
    loggers = [logging.getLogger(), *(one for one in logging.Logger.manager.loggerDict.values())]
    handlers = {handler for one in loggers if isinstance(one, logging.Logger) for handler in one.handlers}
    for handler in handlers:
        for old in [one for one in handler.filters if isinstance(one, RedactingFilter)]:
            handler.removeFilter(old)
        handler.addFilter(RedactingFilter(redactor))


def _log_thread_error(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        logging.getLogger("easel").error("a thread ended with an error", exc_info=args.exc_value)
