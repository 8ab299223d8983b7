"""A task of a chatting model in flight."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bot.jobs import Media
from bot.models import VISUAL_QUESTION_ANSWERING
from bot.ports import MatchScore, Task, TaskImage
from inference.vision.chat.chat_inputs import ChatPrompt
from inference.vision.request import VisionRequest

_NO_IMAGE = TaskImage("", Media(b"", ""))
"""In place of the images of a question about none."""


class ChatRequest(VisionRequest):
    """A question is about all its images at once; captions are of one each.

    Attributes:
        prompts: one for each of the task's answers.
        begins_in_thought: the prompts end within a thought.
    """

    def __init__(
        self, task: Task, prompts: Sequence[ChatPrompt], max_tokens: int, *, begins_in_thought: bool = False
    ) -> None:
        self.prompts = prompts
        self.begins_in_thought = begins_in_thought
        one_answer = replace(task, images=task.images[:1] or (_NO_IMAGE,)) if is_question(task) else task
        super().__init__(one_answer, [], (), max_tokens, "")


def is_question(task: Task) -> bool:
    return task.task == VISUAL_QUESTION_ANSWERING


@dataclass
class Ranking:
    """How well images show a text. `scores`: of the first prompts, one for each image."""

    task: Task
    prompts: Sequence[ChatPrompt]
    scores: list[MatchScore] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return len(self.scores) == len(self.prompts)
