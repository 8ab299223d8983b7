"""Describes what a plugin raised, whatever that is: even its text may be an error."""


def error_line(error: BaseException) -> str:
    """Its type and its text."""
    text = error_text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def error_text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its text cannot be read)"
