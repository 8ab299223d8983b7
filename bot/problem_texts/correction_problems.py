"""Why a caption or an answer cannot be corrected."""

from collections.abc import Mapping

from bot.i18n import N_

CORRECTION_PROBLEMS: Mapping[str, str] = {
    "not_correctable": N_("Only captions and answers about one picture can be corrected."),
    "no_answer": N_("There is nothing to correct yet: this job has no answer."),
    "consent_source": N_(
        "This picture or its words came through a chat or another program, and nothing from there is used for "
        "training. Save the correction without consent."
    ),
}
RETIRED_ADAPTER = N_(
    "The adapter {names} learned from it and is switched off. Its owner can train it again without it."
)
RETIRED_ADAPTERS = N_(
    "The adapters {names} learned from it and are switched off. Their owner can train them again without it."
)
