"""Which model a training is for."""

from collections.abc import Mapping

from bot.commands.ask import chats
from bot.errors import TrainingRefused
from bot.models import TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelRegistry, ModelSpec
from bot.ports import AdapterKind
from bot.usecases.training_orders import TrainingOrder

_TASKS: Mapping[AdapterKind, str] = {"vision": VISUAL_QUESTION_ANSWERING, "image": TEXT_TO_IMAGE}


def choose_model(models: ModelRegistry, order: TrainingOrder) -> ModelSpec:
    """Raises: InvalidOption, TrainingRefused."""
    task = _TASKS[order.kind]
    model = models.require(order.model) if order.model else models.default_for(task)
    if model is None or (chats(model) and not order.model):
        model = next((one for one in models if task in one.tasks and not chats(one)), None)
    if model is None:
        raise TrainingRefused("no_model", kind=order.kind)
    if chats(model):
        raise TrainingRefused("chats", model=model.display_name)
    if task not in model.tasks:
        raise TrainingRefused("wrong_model", model=model.display_name, kind=order.kind)
    if models.get(model.name) is None or models.install_progress(model.name) is not None:
        raise TrainingRefused("not_installed", model=model.display_name, name=model.name)
    return model
