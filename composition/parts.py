"""The parts of jobs beside their main tasks, in the order in which they run."""

from bot.models import ModelRegistry
from bot.ports import ImageProcessor
from bot.queue.task_runner import Finish, Preparation


def build_preparations(models: ModelRegistry, images: ImageProcessor) -> list[Preparation]:
    """What is made before a job's main task."""
    return []


def build_finishes(models: ModelRegistry, images: ImageProcessor) -> list[Finish]:
    """What is made of the output of a job's main task."""
    return []
