"""`easel correct`: what a caption or an answer should have been, and consent to training with it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.cli.consent_texts import describe_consent
from adapters.cli.history_commands import SHORT_ID, run_with_job_client
from adapters.cli.options import CONFIG, DATA_DIR, JOB, JSON
from adapters.cli.session import Session

if TYPE_CHECKING:
    from adapters.cli.client.types import JobClient


def add_correct_command(app: typer.Typer, session: Session) -> None:
    @app.command(
        help="Say what a caption or an answer should have been. With --consent it may be used, with its image, to "
        "train this server's models, until you withdraw that",
        short_help="Correct a caption or an answer",
    )
    def correct(
        job: JOB,
        text: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="What it should have been")] = None,
        consent: Annotated[
            bool, typer.Option("--consent", help="It may be used to train this server's models; without, it may not")
        ] = False,
        withdraw: Annotated[bool, typer.Option("--withdraw", help="Withdraw consent and keep the text")] = False,
        delete: Annotated[bool, typer.Option("--delete", help="Delete the text and withdraw consent")] = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        words = " ".join(text or ())
        flags = [name for name, is_given in (("--withdraw", withdraw), ("--delete", delete)) if is_given]
        _check_usage(words, flags, consent)

        async def work(client: "JobClient") -> int:
            found = await client.read_job(job)
            if delete:
                _print_deleted(found["id"], await client.delete_correction(found["id"]), as_json=as_json)
                return 0
            said = words if not withdraw else _known_text(found)
            saved = await client.correct_job(found["id"], said, consent=consent)
            _print_saved(found["id"], saved, as_json=as_json)
            return 0

        return run_with_job_client(session, config, data_dir, work)


def _check_usage(words: str, flags: list[str], consent: bool) -> None:
    """Raises: BadInput."""
    from adapters.cli.error_output import BadInput
    from adapters.cli.output import program_name

    if len(flags) > 1:
        raise BadInput("Give either --withdraw or --delete, not both.")
    if flags and (words or consent):
        raise BadInput(f"{flags[0]} needs only the job, without a text and without --consent.")
    if not flags and not words:
        raise BadInput(f"TEXT is missing: say what it should have been. See `{program_name()} correct --help`.")


def _known_text(job: dict[str, Any]) -> str:
    """Raises: BadInput."""
    from adapters.cli.error_output import BadInput

    if job["correction"] is None:
        raise BadInput("This job has no correction, so there is no consent to withdraw.")
    return str(job["correction"]["text"])


def _print_saved(job: str, saved: dict[str, Any], *, as_json: bool) -> None:
    from adapters.cli.output import print_json, print_line, program_name

    if as_json:
        print_json(saved)
        return
    print_line(f"Corrected: {saved['text']}")
    print_line(describe_consent(saved, f"`{program_name()} correct {job[:SHORT_ID]} --withdraw` withdraws that."))
    if saved["note"]:
        print_line(saved["note"])


def _print_deleted(job: str, retired: list[str], *, as_json: bool) -> None:
    from adapters.cli.output import print_json, print_line
    from bot.usecases.corrections import retired_sentence

    if as_json:
        print_json({"id": job, "correction": None, "retired_adapters": retired})
        return
    print_line("The correction is deleted.")
    if retired:
        print_line(retired_sentence(retired))
