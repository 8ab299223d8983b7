"""The option `adapter`: which of the adapters that were trained here answers, or none."""

from bot.i18n import N_
from bot.models import ModelSpec
from bot.options import OptionSpec

NO_ADAPTER = "none"
"""The model as it was installed."""
OPTION = "adapter"


def make_adapter_option(*, is_advanced: bool = False) -> OptionSpec:
    return OptionSpec(
        name=OPTION,
        kind=str,
        help=N_("An adapter that was trained here, or none (default: the model's)"),
        maximum=64,
        is_advanced=is_advanced,
    )


def default_adapter(model: ModelSpec) -> str | None:
    """Of a vision model: the one that answers where a request names none."""
    return next(iter(model.adapters), None)
