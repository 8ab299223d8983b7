"""What people say that captions and answers should have been, and their consent to training with it.

Storage withdraws consent in the transaction that deletes a correction, its job, its image or its person, and lists it
until trainings and adapters have forgotten the example: at once where somebody withdraws it, else within `CHECK_S`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from bot.commands.ask import Ask
from bot.commands.caption import Caption
from bot.errors import InvalidOption, MediaNotFound
from bot.i18n import translator
from bot.jobs import Job, new_job_id
from bot.options import check_bytes, clean_text
from bot.ports import AdapterRecord, Correction, CorrectionStore, JobStore, MediaStore, Person
from bot.problem_texts.correction_problems import RETIRED_ADAPTER, RETIRED_ADAPTERS
from bot.usecases.moderation import Moderation
from bot.usecases.refused_requests import refuse_blocked

log = structlog.get_logger()

MAX_TEXT = 500
"""Characters, as of a question."""
CHECK_S = 10.0
CORRECTABLE = frozenset({Caption.name, Ask.name})


async def _forget_nothing(_corrections: Collection[str]) -> list[AdapterRecord]:
    return []


@dataclass(frozen=True, kw_only=True)
class CorrectionUseCases:
    """`forget_examples`: trainings and adapters that have these corrections forget them; returns adapters that were
    switched off."""

    store: JobStore
    corrections: CorrectionStore
    media: MediaStore
    moderation: Moderation
    forget_examples: Callable[[Collection[str]], Awaitable[list[AdapterRecord]]] = _forget_nothing

    async def correct(
        self, person: Person, job_id: str, text: str, *, consent: bool
    ) -> tuple[Correction, list[AdapterRecord]]:
        """Save it in place of an earlier one. Withdrawing consent is never refused. Returns it, and the adapters that
        are switched off because consent was withdrawn or given for other words.

        Raises: JobNotFound, InvalidOption, ImageGone, Blocked.
        """
        job = await self.store.get_job(job_id, person.id)
        words = _clean(text)
        known = (await self.corrections.find_corrections(person.id, [job.id])).get(job.id)
        if consent or known is None or known.text != words:
            refuse_blocked(person)
            _require_correctable(job)
            await self.moderation.check_words(person.id, words)
        saved = await self.corrections.save_correction(_new_correction(job, words, consent=consent))
        is_withdrawn = (
            known is not None and known.consented_at is not None and (saved.id != known.id or not saved.consented_at)
        )
        return saved, await self._forget([known.id]) if known is not None and is_withdrawn else []

    async def delete(self, person: Person, job_id: str) -> list[AdapterRecord]:
        """With its consent. Idempotent. Returns the adapters that are switched off. Raises: JobNotFound."""
        gone = await self.corrections.delete_correction(job_id, person.id)
        return await self._forget([gone.id]) if gone is not None and gone.consented_at is not None else []

    async def read_image(self, correction: Correction) -> bytes | None:
        """None: it was deleted meanwhile."""
        try:
            return (await self.media.read_media(correction.media, correction.person)).data
        except MediaNotFound:
            return None

    async def finish_withdrawals(self) -> None:
        """What was withdrawn by deleting more than the correction, or while the process ended."""
        if withdrawn := await self.corrections.list_withdrawn():
            await self._forget(withdrawn)

    async def run_forever(self) -> None:
        while True:
            try:
                await self.finish_withdrawals()
            except Exception as error:  # the loop must go on
                log.warning("withdrawals could not be read", action="withdrawals_failed", exc_info=error)
            await asyncio.sleep(CHECK_S)

    async def _forget(self, withdrawn: Collection[str]) -> list[AdapterRecord]:
        """Whatever fails is repeated by `finish_withdrawals`: consent is withdrawn already."""
        try:
            retired = await self.forget_examples(withdrawn)
        except Exception as error:
            log.warning("examples could not be forgotten yet", action="forgetting_failed", exc_info=error)
            return []
        await self.corrections.settle_withdrawn(withdrawn)
        names = [one.name for one in retired]
        log.info("consent was withdrawn", action="consent_withdrawn", count=len(withdrawn), retired=names)
        return retired


def retired_sentence(names: Collection[str], *, locale: str = "en") -> str:
    """Which adapters a withdrawal switched off; empty: none."""
    if not names:
        return ""
    sentence = RETIRED_ADAPTER if len(names) == 1 else RETIRED_ADAPTERS
    return translator(locale)(sentence).format(names=", ".join(names))


def _clean(text: str) -> str:
    """Raises: InvalidOption."""
    check_bytes("text", text, MAX_TEXT)
    words = clean_text(text)
    if not words:
        raise InvalidOption("text", "empty")
    if len(words) > MAX_TEXT:
        raise InvalidOption("text", "long", value=len(words), allowed=str(MAX_TEXT))
    return words


def _require_correctable(job: Job) -> None:
    """Raises: InvalidOption."""
    if job.command not in CORRECTABLE or len(job.images) != 1:
        raise InvalidOption("job", "not_correctable")
    if job.result is None or not job.result.text:
        raise InvalidOption("job", "no_answer")


def _new_correction(job: Job, text: str, *, consent: bool) -> Correction:
    now = datetime.now(UTC)
    return Correction(
        id=new_job_id(),
        job=job.id,
        person=job.owner,
        media=job.images[0].id if job.images else "",
        question=str(job.options.get("question") or ""),
        answer=(job.result.text if job.result is not None else None) or "",
        text=text,
        created_at=now,
        consented_at=now if consent else None,
    )
