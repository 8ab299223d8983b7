"""What is new in a text that grows, and where it ends."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from adapters.web.client_calls import ClientCall, succeeded
from bot.jobs import Job


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """The text before the first of the texts that end it."""
    ends = [at for one in stop if (at := text.find(one)) >= 0]
    return text[: min(ends)] if ends else text


class TextDeltas:
    """Deltas cannot be taken back: what may still become a stop text is held back, and so is a rewritten text.

    `job`: the finished job, after the last delta.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = stop
        self._sent = ""
        self.job: Job | None = None

    @property
    def sent(self) -> str:
        return self._sent

    def add(self, text: str) -> str:
        """The delta for the whole text so far."""
        return self._send(self._without_begun_stop(cut_at_stop(text, self._stop)))

    def finish(self, text: str) -> str:
        """The last delta, for the complete text."""
        return self._send(cut_at_stop(text, self._stop))

    def _without_begun_stop(self, text: str) -> str:
        held = [size for stop in self._stop for size in range(1, len(stop)) if text.endswith(stop[:size])]
        return text[: len(text) - max(held, default=0)]

    def _send(self, text: str) -> str:
        if not text.startswith(self._sent):
            return ""
        delta, self._sent = text[len(self._sent) :], text
        return delta


async def follow_text(call: ClientCall, job: Job, deltas: TextDeltas) -> AsyncGenerator[str, None]:
    """The deltas of a job's text. Of a beam search, whose texts are rewritten, there is one.

    Raises: like `ClientCall.follow`.
    """
    grows = int(job.options.get("num_beams") or 1) == 1 and int(job.options.get("num_return_sequences") or 1) == 1
    async with aclosing(call.follow(job.id)) as events:
        async for event in events:
            progress = event.ticket.progress
            if event.kind == "result":
                deltas.job = succeeded(event.ticket.job)
                result = deltas.job.result
                delta = deltas.finish((result.text or "") if result is not None else "")
            else:
                delta = deltas.add(progress.text) if grows and event.kind == "progress" and progress is not None else ""
            if delta:
                yield delta
