"""About regions that words name, by the problem of an `InvalidOption`."""

from collections.abc import Mapping

from bot.i18n import N_

REGION_PROBLEMS: Mapping[str, str] = {
    "region_not_found": N_("I can't see {allowed} in this picture."),
    "no_subject": N_("I can't tell the main thing in this picture from its background: name it with {option}."),
    "many_regions": N_("{option} names {value} things; at most {allowed} are found at the same time."),
    "keep_what": N_("{option} needs a region or a mask: say what is to stay."),
}
