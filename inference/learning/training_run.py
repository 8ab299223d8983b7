"""Runs one training of either kind, and turns whatever goes wrong into a sentence."""

import contextlib
import errno
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import torch

from bot.errors import EaselError, EngineError, ModelUnavailable, OutOfMemory, TrainingRefused
from bot.ports import TrainingProgress, TrainingReport, TrainingRequest
from inference.engine.error_mapping import is_out_of_memory
from inference.ipc import child, messages
from inference.learning.training_session import TrainingSession


def run_training(
    request: TrainingRequest, is_free: threading.Event, send: Callable[[TrainingProgress], None]
) -> TrainingReport | messages.PackedError:
    """The report of the training, or why there is none. `is_free`: no job of a person runs."""
    try:
        if request.threads:
            torch.set_num_threads(request.threads)
        return train_adapter(TrainingSession(request, is_free, send))
    except Exception as error:  # the libraries raise many types
        refusal = to_refusal(error, request)
        if refusal.problem == "failed":
            child.log("error", "A training failed", problem=child.format_traceback(error)[-3000:])
        return messages.pack_error(refusal)


def train_adapter(session: TrainingSession) -> TrainingReport:
    """Raises: TrainingRefused; what the libraries raise."""
    session.proceed("checking")
    if session.request.kind == "vision":
        from inference.learning.vision_training import train_vision_adapter

        return train_vision_adapter(session)
    from inference.learning.image_training import train_image_adapter

    return train_image_adapter(session)


def to_refusal(error: Exception, request: TrainingRequest) -> TrainingRefused:
    """The sentence for any error."""
    name = request.model.display_name
    match error:
        case TrainingRefused():
            return error
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT) or _is_disk_full(request):
            return TrainingRefused("disk_full")
        case _ if isinstance(error, OutOfMemory) or is_out_of_memory(error):
            return TrainingRefused("no_memory")
        case ModelUnavailable():
            return TrainingRefused("model", model=name, detail=_first_line(error.detail))
        case EngineError():
            return TrainingRefused("failed", detail=_first_line(error.detail or error.code))
        case EaselError():
            return TrainingRefused("failed", detail=error.code)
        case OSError() if error.filename and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return TrainingRefused("unwritable", folder=os.fsdecode(error.filename), detail=error.strerror or "unknown")
        case OSError() if error.filename:
            detail = f"{os.fsdecode(error.filename)}: {error.strerror or 'unknown'}"
            return TrainingRefused("failed", detail=detail)
    if _is_disk_full(request):  # libraries hide the reason
        return TrainingRefused("disk_full")
    return TrainingRefused("failed", detail=_first_line(str(error)) or type(error).__name__)


def _is_disk_full(request: TrainingRequest) -> bool:
    for folder in (Path(request.work), Path(request.output).parent):
        with contextlib.suppress(OSError):
            if shutil.disk_usage(folder).free < 2**20:
                return True
    return False


def _first_line(text: str) -> str:
    return next((line.strip()[:200].rstrip(".") for line in text.splitlines() if line.strip()), "")
