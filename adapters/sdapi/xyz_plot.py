"""Scripts that a request names. None of AUTOMATIC1111's is here but "x/y/z plot"."""

from collections.abc import Awaitable, Callable
from typing import Any

from adapters.sdapi.call import SdCall
from adapters.sdapi.generation import Drawing
from bot.errors import InvalidOption

Script = Callable[[SdCall, Drawing], Awaitable[dict[str, Any]]]
NAME = "x/y/z plot"


def find_script(call: SdCall) -> Script | None:
    """Raises: InvalidOption: there is no such script."""
    name = call.fields.text("script_name").strip()
    if name.casefold() in ("", "none"):
        return None
    raise InvalidOption("script_name", "choice", value=name[:60], allowed=NAME)
