"""Why an adapter that was trained here is not used: sentences by the problem of an `InvalidOption`."""

from collections.abc import Mapping

from bot.i18n import N_

ADAPTER_PROBLEMS: Mapping[str, str] = {
    "adapter": N_("There is no adapter {value} for this model.{hint} Adapters: {allowed}, or none."),
    "no_adapter": N_("There is no adapter {value}: this model has none. Leave {option} out; `easel train` makes one."),
    "adapter_task": N_("The model {value} cannot answer with an adapter: leave {option} out, or choose another model."),
    "adapter_rejected": N_("The adapter {value} did not pass its test, so it cannot be used: leave {option} out."),
    "adapter_retired": N_(
        "The adapter {value} learned from an example that somebody has withdrawn, so it cannot be used any more: "
        "leave {option} out; the owner can train it again."
    ),
    "adapter_revision": N_(
        "The adapter {value} was trained on another revision of the model: leave {option} out; the owner can train it "
        "again."
    ),
    "adapter_missing": N_(
        "The files of the adapter {value} are missing: leave {option} out; the owner can train it again."
    ),
    "adapter_changed": N_(
        "The file of the adapter {value} is not the one that passed the test, so it is not used: leave {option} out; "
        "the owner can train it again."
    ),
    "adapter_damaged": N_(
        "The files of the adapter {value} are damaged: leave {option} out; the owner can train it again."
    ),
    "adapter_unfit": N_(
        "The adapter {value} does not fit this model: leave {option} out; the owner can train it again."
    ),
}
SWITCHED_OFF = N_("The adapter was switched off before this was answered, so the model answered without it: {words}")
NOT_USED = N_("The model answered without its adapter, which cannot be used; its owner can train it again: {words}")
"""Notes of an answer."""

OWNER_PROBLEMS: Mapping[str, str] = {
    "adapter_retired": N_("Retired: it learned from an example that was withdrawn. Train it again."),
    "adapter_revision": N_("It was trained on another revision of the model: train it again."),
    "adapter_missing": N_("Its files are missing: remove it, or train it again."),
    "adapter_changed": N_("Its file is not the one that passed the test: train it again."),
    "adapter_model": N_("Its model {model} is not installed."),
}
"""In lists for owners: why an adapter cannot be used."""
FAILED_TEST = N_("It did not pass its test.")
NEW_FELL_SHORT: Mapping[str, str] = {
    "vision": N_("New answers changed by {gain} points; a rise of {needed} is needed."),
    "image": N_("New pictures changed by {gain} points; a rise of {needed} is needed."),
}
OLD_LOST: Mapping[str, str] = {
    "vision": N_("Old answers fell by {loss} points; less than {allowed} are allowed."),
    "image": N_("Old pictures fell by {loss} points; less than {allowed} are allowed."),
}
"""By the kind of adapter, as is `NEW_FELL_SHORT`."""
