"""What the MCP library logs, without the text: it may repeat what people wrote, with a traceback."""

import logging

import structlog

log = structlog.get_logger()


class LibraryHandler(logging.Handler):
    """Logs where the library reported something, and the kind of the error."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        place = f"{record.name}:{record.lineno}"
        log.warning("The MCP library reported a problem", action="mcp.library", place=place, error=error)


def confine_library_log() -> None:
    """Called before the library is used; again, it does nothing."""
    library = logging.getLogger("mcp")
    if not any(isinstance(one, LibraryHandler) for one in library.handlers):
        library.addHandler(LibraryHandler())
    library.setLevel(logging.WARNING)
    library.propagate = False
