"""What is said about plugins: why one had no effect on a job, and why a command of one cannot be run."""

import re
from collections.abc import Mapping

from bot.errors import UserError
from bot.i18n import N_, Translate

CODES: Mapping[str, str] = {"unknown": "not_found", "failed": "plugin_failed"}


class PluginRefused(UserError):
    """A plugin, or a command of one, cannot be used. `problem` is a key of `PLUGIN_PROBLEMS`; `name` is the plugin's or
    the command's, and `detail` goes into the sentence."""

    def __init__(self, problem: str, name: str, *, detail: str = "") -> None:
        super().__init__()
        self.code = CODES.get(problem, "plugin_refused")
        self.problem = problem
        self.name = name
        self.detail = detail


FAILED = N_("it failed.")
TOO_LONG = N_("it took too long.")
STOPPED = N_("it was switched off meanwhile.")
SWITCHED_OFF = N_("it took too long and was switched off.")
ENDED_WORKER = N_("it ended the worker and was switched off.")
UNUSABLE = N_("what it returned cannot be used here.")
NOT_ALLOWED = N_("what it wrote contains a word that is not allowed here.")
REASONS = (FAILED, TOO_LONG, STOPPED, SWITCHED_OFF, ENDED_WORKER, UNUSABLE, NOT_ALLOWED)

NO_EFFECT = N_("The plugin {name} had no effect: {reason}")
PROMPT_CHANGED = N_("The plugin {name} changed the prompt to: {words}")
NEGATIVE_CHANGED = N_("The plugin {name} changed the negative prompt to: {words}")
ANSWER_CHANGED = N_("The plugin {name} changed this answer.")
OPTIONS_CHANGED = N_("The plugin {name} changed: {words}")
TEMPLATES = (NO_EFFECT, PROMPT_CHANGED, NEGATIVE_CHANGED, ANSWER_CHANGED, OPTIONS_CHANGED)
"""Notes on a job."""

PLUGIN_PROBLEMS: Mapping[str, str] = {
    "failed": N_("The plugin {name} could not do that. Try again, or ask the owner to look into the log."),
    "unknown": N_("There is no plugin {name}. `easel plugins list` shows them."),
    "unwritable": N_("The settings file cannot be written ({detail}): the plugin was not switched."),
}
"""Sentences by the problem of a `PluginRefused`."""

BLOCKED_BY_PLUGINS: Mapping[str, str] = {
    "plugin": "{detail}",
    "plugin_silent": N_("A plugin of this server refused the request."),
    "plugin_words": N_(
        "What a plugin made of your prompt contains blocked words; you weren't charged. Rephrase your prompt."
    ),
}
"""By the reason of a `Blocked`. A plugin that refuses says why itself."""


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
