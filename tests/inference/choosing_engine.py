"""A torch-free engine whose images wait for a choice after their first step, if their prompt has the word `choose`."""

from collections.abc import Sequence

from bot.jobs import Media
from bot.models import ModelSpec
from bot.ports import Candidate, Candidates, Task
from inference.engine.base import CandidatesReady, EngineEvent
from tests.inference.engines import TestEngine


def build(model: ModelSpec) -> "ChoosingEngine":
    return ChoosingEngine(model)


class ChoosingEngine(TestEngine):
    def __init__(self, model: ModelSpec) -> None:
        super().__init__(model)
        self._asked: dict[str, list[int]] = {}
        """The images that go on, by task; empty: nobody has answered."""

    def keep_rows(self, task_id: str, step: int, kept: Sequence[int]) -> None:
        if task_id in self._asked and step == 1:
            self._asked[task_id] = list(kept)

    def _advance(self, task: Task) -> list[EngineEvent]:
        if "choose" not in str(task.options["prompt"]) or self._asked.get(task.id):
            kept = self._asked.get(task.id)
            events = super()._advance(task)
            return [one for one in events if kept is None or not hasattr(one, "image") or one.image.index in kept]
        if task.id in self._asked:
            assert len(self._tasks) > 1, "an engine is not stepped while all its tasks wait"
            return []
        self._asked[task.id] = []
        images = tuple(Candidate(index, Media(b"", "image/png")) for index in range(int(task.options["count"])))
        return [CandidatesReady(task_id=task.id, candidates=Candidates(step=1, kept=2, images=images))]
