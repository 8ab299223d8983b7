"""Trains an adapter of a BLIP-2: its vision encoder stays as it is, LoRA layers go on attention only."""

from bot.errors import TrainingRefused
from bot.ports import TrainingReport
from inference.learning.training_session import TrainingSession


def train_vision_adapter(session: TrainingSession) -> TrainingReport:
    """Raises: TrainingRefused."""
    raise TrainingRefused("model", model=session.request.model.display_name, detail="vision models are not trained yet")
