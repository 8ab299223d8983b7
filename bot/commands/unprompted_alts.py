"""Alt texts of pictures that were made without a prompt, where no model has described them."""

from collections.abc import Mapping
from typing import Any

from bot.i18n import N_, Translate

_SHOWN: Mapping[str, str] = {
    "upscale": N_("A picture, enlarged"),
    "zoom": N_("A picture with more around it"),
    "pan": N_("A picture with more around it"),
    "square": N_("A picture with more around it"),
    "blend": N_("Several pictures blended into one"),
}


def describe_unprompted(command: str, options: Mapping[str, Any], translate: Translate) -> str:
    """Empty of commands that always have a prompt."""
    if command == "cutout":
        if options.get("region"):
            return translate("{region}, cut out of a picture").format(region=options["region"])
        return translate("The main thing of a picture, cut out")
    return translate(_SHOWN[command]) if command in _SHOWN else ""
