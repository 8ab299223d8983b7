"""Reports: people in a chat point out a picture or an answer, and admins look at it on the page."""

from dataclasses import dataclass

import structlog

from bot.errors import InvalidOption, NotFound
from bot.jobs import Job, Media, StoredImage
from bot.options import clean_text
from bot.ports import JobStore, ListPage, MediaStore, Person, ReportedJob, Reports, ReportState
from bot.ports import SaveOutcome as SaveOutcome
from bot.usecases.job_images import picture_at
from bot.usecases.pictures import PictureUseCases

log = structlog.get_logger()

MAX_PER_DAY = 20
"""Reports of one person in 24 hours."""
MAX_REASON = 500
DISMISS, DELETE = "dismiss", "delete"
ACTIONS = (DISMISS, DELETE)
"""How a report is closed."""


@dataclass(frozen=True, kw_only=True)
class ReportUseCases:
    """Only open reports show an admin a job's words and pictures. `admin` is whoever looks, for the log: a key."""

    store: JobStore
    reports: Reports
    pictures: PictureUseCases
    media: MediaStore

    async def report_job(self, person: Person, job_id: str, *, picture: int = 0, reason: str = "") -> SaveOutcome:
        """Report a job, or one of its pictures. Where the person sees it, the adapter has checked.

        Raises: JobNotFound; NotFound: it never had such a picture.
        """
        job = await self.store.get_job(job_id, None)
        if picture and (job.result is None or not 1 <= picture <= job.result.places):
            raise NotFound("picture", str(picture))
        is_one = picture and job.has_several_pictures
        words = clean_text(reason)[:MAX_REASON]
        outcome = await self.reports.save_report(
            person.id, job.id, picture if is_one else None, words, daily_limit=MAX_PER_DAY
        )
        if outcome == "saved":
            log.info("a job was reported", action="reported", job_id=job.id, picture=picture)
        return outcome

    async def list_reports(
        self, admin: str, state: ReportState, *, before: str | None, limit: int
    ) -> ListPage[ReportedJob]:
        """Open ones first."""
        page = await self.reports.list_reports(state, before=before, limit=limit)
        read = [one.id for one in page.items if one.closed_at is None]
        if read:
            log.info("reported jobs were read", action="reports_read", admin=admin, reports=read)
        return page

    async def read_picture(self, admin: str, report_id: int, number: int) -> Media:
        """One of the pictures that an open report is about. Raises: NotFound, MediaNotFound."""
        report = await self.reports.get_report(report_id)
        shown = [one for one in reported_pictures(report) if one.number == number]
        if not shown:
            raise NotFound("picture", str(number))
        media = await self.media.read_media(shown[0].id, None)
        log.info("a reported picture was opened", action="report_opened", admin=admin, report=report_id, picture=number)
        return media

    async def close_report(self, admin: str, report_id: int, action: str) -> None:
        """Idempotent. `delete` erases what was reported, with its chat messages. Raises: NotFound, InvalidOption."""
        if action not in ACTIONS:
            raise InvalidOption("action", "choice", value=action, allowed=", ".join(ACTIONS))
        report = await self.reports.get_report(report_id)
        if report.closed_at is None:
            if action == DELETE:
                await self._delete(report)
            else:
                await self.reports.close_reports(report_id, action)
            log.info("a report was closed", action="report_closed", admin=admin, report=report_id, outcome=action)

    async def _delete(self, report: ReportedJob) -> None:
        """The report goes with what it is about."""
        if report.picture is not None:
            await self.pictures.delete_picture(report.owner, report.job.id, report.picture, retracts=True)
        else:
            await self.pictures.erase_job(report.owner, report.job.id)


def reported_pictures(report: ReportedJob) -> tuple[StoredImage, ...]:
    """None of a closed report."""
    job: Job = report.job
    if report.closed_at is not None or job.result is None:
        return ()
    if report.picture is None:
        return job.result.media
    found = picture_at(job, report.picture)
    return (found,) if found is not None else ()
