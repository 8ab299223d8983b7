"""Libraries that report at import which of their kernels are missing; none of those is used here. Imports no torch."""

import logging

_LOGGERS = ("torchao", "torch.utils._pytree", "bitsandbytes", "diffusers.quantizers")


def mute_libraries() -> None:
    """Before they are imported: log only their errors."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
