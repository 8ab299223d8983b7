"""The messages to the process that trains an adapter. It answers with the values of `bot.ports.learning`."""

from dataclasses import dataclass

from bot.ports import TrainingRequest


@dataclass(frozen=True)
class StartTraining:
    request: TrainingRequest
