"""The conversation that a question continues: the earlier questions and answers about its images.

It is read when the job runs, so that nothing of an erased job is in it.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from bot.commands import Ask
from bot.errors import Blocked, JobNotFound
from bot.jobs import Job
from bot.options import clean_text
from bot.ports import JobStore

MAX_PARENTS = 16
MAX_TURNS = 8
MAX_CHARACTERS = 16_000
"""Of the questions and answers together; the newest are kept."""

Turn = dict[str, str]
"""`{"question": ..., "answer": ...}`"""


class WordCheck(Protocol):
    async def check_words(self, account_id: str, text: str) -> None:
        """Raises: Blocked."""


@dataclass(frozen=True, kw_only=True)
class ThreadReader:
    store: JobStore
    words: WordCheck

    async def read_thread(self, job: Job) -> Sequence[Turn]:
        """Oldest first; empty: the job is no question, or follows up on none. Raises: StorageBusy."""
        turns: list[Turn] = []
        left, last = MAX_CHARACTERS, _question_of(job)
        async for earlier in self._follow_parents(job):
            turn = _turn_of(earlier)
            if turn is None or turn["question"] == last:  # it has no answer, or was asked again since
                continue
            left -= sum(map(len, turn.values()))
            if left < 0 or len(turns) == MAX_TURNS or await self._is_blocked(job, turn):
                break
            turns.append(turn)
            last = turn["question"]
        return turns[::-1]

    async def _follow_parents(self, job: Job) -> AsyncIterator[Job]:
        """The questions that this one follows up on, newest first."""
        one = job
        for _ in range(MAX_PARENTS if job.command == Ask.name else 0):
            if not one.parent:
                return
            try:
                earlier = await self.store.get_job(one.parent, None)
            except JobNotFound:
                return
            if earlier.command != Ask.name or not _is_readable(earlier, one, job):
                return
            one = earlier
            yield one

    async def _is_blocked(self, job: Job, turn: Turn) -> bool:
        """Words may have been blocked since."""
        try:
            await self.words.check_words(job.origin.account_id, " ".join(turn.values()))
        except Blocked:
            return True
        return False


def _is_readable(earlier: Job, following: Job, job: Job) -> bool:
    """The person's own question, or one that was asked where this one is; about the same images, or some of them.

    Where others read along, one from elsewhere only if it is followed up there: it was shown; what it follows was not.
    """
    is_here = bool(job.origin.chat_id) and earlier.origin.is_same_chat(job.origin)
    is_shown = not job.origin.is_shared or following.origin.is_same_chat(job.origin)
    is_own = earlier.owner == job.owner and is_shown
    is_visible = is_here or is_own
    return is_visible and {image.id for image in earlier.images} <= {image.id for image in job.images}


def _question_of(job: Job) -> str:
    return clean_text(str(job.options.get("question") or ""))


def _turn_of(job: Job) -> Turn | None:
    """None: it has no answer."""
    answer = (job.result.text or "").strip() if job.result is not None else ""
    return {"question": _question_of(job), "answer": answer} if answer else None
