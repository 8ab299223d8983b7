"""What is said about plugins: why one had no effect on a job, and why a command of one cannot be run."""

import re
from collections.abc import Mapping

from bot.i18n import N_, Translate

FAILED = N_("it failed.")
TOO_LONG = N_("it took too long.")
STOPPED = N_("it was switched off meanwhile.")
UNUSABLE = N_("what it returned cannot be used here.")
NOT_ALLOWED = N_("what it wrote contains a word that is not allowed here.")
REASONS = (FAILED, TOO_LONG, STOPPED, UNUSABLE, NOT_ALLOWED)

NO_EFFECT = N_("The plugin {name} had no effect: {reason}")
PROMPT_CHANGED = N_("The plugin {name} changed the prompt to: {words}")
NEGATIVE_CHANGED = N_("The plugin {name} changed the negative prompt to: {words}")
ANSWER_CHANGED = N_("The plugin {name} changed this answer.")
OPTIONS_CHANGED = N_("The plugin {name} changed: {words}")
TEMPLATES = (NO_EFFECT, PROMPT_CHANGED, NEGATIVE_CHANGED, ANSWER_CHANGED, OPTIONS_CHANGED)
"""Notes on a job."""

PLUGIN_PROBLEMS: Mapping[str, str] = {
    "off": N_("The command {command} belongs to the plugin {name}, which is switched off. Ask the owner."),
    "failed": N_("The plugin {name} could not do that. Try again, or ask the owner to look into the log."),
    "unknown": N_("There is no plugin {name}. `easel plugins list` shows them."),
    "broken": N_("The plugin {name} cannot be switched on: {detail}"),
    "unwritable": N_("The settings file cannot be written ({detail}): the plugin was not switched."),
    "set_elsewhere": N_(
        "{detail} decides whether the plugin {name} is on, so it cannot be switched here: change it there."
    ),
    "no_images": N_("The command {command} takes at most {detail} pictures."),
}
"""Sentences by the problem of a `PluginRefused`."""


def format_plugin_note(note: str, translate: Translate) -> str | None:
    """A note that one of `TEMPLATES` made, in the person's language; None: it is another one."""
    for template in TEMPLATES:
        parts = re.split(r"\{(\w+)\}", template)
        pattern = "".join(f"(?P<{part}>.*)" if place % 2 else re.escape(part) for place, part in enumerate(parts))
        found = re.fullmatch(pattern, note, re.DOTALL)
        if found is not None:
            values = {key: translate(one) if one in REASONS else one for key, one in found.groupdict().items()}
            return translate(template).format(**values)
    return None
