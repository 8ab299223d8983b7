"""About pictures that are compared, by the problem of an `InvalidOption`; and notes of their results."""

from collections.abc import Mapping

from bot.i18n import N_

BEST_PROBLEMS: Mapping[str, str] = {
    "n_combinations": N_(
        "The prompt has {value} combinations: set {option} to {value} for one picture of each (at most {allowed}), or "
        "write one prompt without {{a|b}}."
    ),
    "best_needs_prompt": N_("{option} compares pictures with the prompt: write one, or leave {option} out."),
    "with_best": N_("best already makes {value} pictures: leave {option} out."),
}
UNRANKED = N_("The pictures could not be compared with the prompt: they are in the order in which they were made.")
UNJUDGED = N_(
    "The pictures could not be compared while they were made, so some were dropped without looking at them: ask again "
    "for the best of all."
)
LOW_MATCH = N_("This may not show all that you asked for: {words}")
