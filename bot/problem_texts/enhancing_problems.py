"""About prompts that a model makes richer, by the problem of an `InvalidOption`; and notes of their results."""

from collections.abc import Mapping

from bot.i18n import N_

ENHANCING_PROBLEMS: Mapping[str, str] = {
    "no_enhancer": N_("No installed model can make prompts richer: leave {option} out."),
    "no_enhancer_but": N_(
        "No installed model can make prompts richer: leave {option} out, or the owner can add one that chats, for "
        "example with `easel models use {nearest}`."
    ),
}
ENHANCED = N_("The richer prompt: {words}")
NOT_ENHANCED = N_("The prompt could not be made richer, so it was used as it is.")
