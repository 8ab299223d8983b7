"""`easel history`, `show`, `cancel` and `export`: one's jobs, through the running server or without one."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.cli.options import CONFIG, DATA_DIR, JOB, JSON, parse_job_id
from adapters.cli.session import Session, run_until_done

if TYPE_CHECKING:
    from adapters.cli.client.types import JobClient
    from adapters.cli.views import JobBody

SHORT_ID = 6
MAX_TEXT = 60
LATER = "The devices are busy, or the matching model is loading. Try again to also find images by what they show."
PAGE, MAX_PAGE = 20, 100


def add_history_commands(app: typer.Typer, session: Session) -> None:
    _add_history(app, session)
    _add_show(app, session)
    _add_cancel(app, session)
    _add_export(app, session)


def _add_history(app: typer.Typer, session: Session) -> None:
    @app.command(help="List your jobs, newest first, or find them by words of their prompts and answers")
    def history(
        words: Annotated[list[str] | None, typer.Argument(metavar="WORDS", help="Words to search for")] = None,
        limit: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=MAX_PAGE, help="How many jobs to list")] = PAGE,
        before: Annotated[str | None, typer.Option(metavar="JOB", help="List the jobs before this one")] = None,
        meaning: Annotated[
            bool, typer.Option("--meaning", help="Also find images that show what the words say, best first")
        ] = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        start = parse_job_id(before) if before is not None else None
        q = " ".join(words or ())

        from adapters.cli.output import print_note

        async def work(client: "JobClient") -> int:
            page = (await client.read_job(start))["id"] if start is not None else None
            jobs, following, is_complete = await client.list_jobs(q, before=page, limit=limit, by_meaning=meaning)
            _print_history(jobs, following, q, as_json=as_json, by_meaning=meaning)
            if not is_complete:
                print_note(LATER)
            return 0

        return run_with_job_client(session, config, data_dir, work)


def _print_history(jobs: "list[JobBody]", following: str | None, q: str, *, as_json: bool, by_meaning: bool) -> None:
    import shlex

    from adapters.cli.output import print_json, print_note, print_table, program_name

    if as_json:
        print_json({"jobs": jobs, "next": following})
        return
    if not jobs:
        nothing = "No job has these words, and no picture shows them." if by_meaning else "No job has these words."
        print_note(nothing if q else "There are no jobs.")
        return
    rows = [(job["id"][:SHORT_ID], _local_time(job), job["command"], job["state"], _summary(job)) for job in jobs]
    print_table(("Job", "Created", "Command", "State", "Text"), rows)
    if following is not None:
        options = ["--before", following[:SHORT_ID], *["--meaning"] * by_meaning]
        words = shlex.join([*options, *["--"] * q.startswith("-"), *q.split()])
        print_note(f"For more: `{program_name()} history {words}`.")


def _local_time(job: "JobBody") -> str:
    from datetime import datetime

    return f"{datetime.fromisoformat(job['created_at']).astimezone():%Y-%m-%d %H:%M}"


def _summary(job: "JobBody") -> str:
    """What was asked for and answered, in one line."""
    options, result = job["options"], job["result"] or {}
    asked = next((options[name] for name in ("prompt", "question", "texts", "region", "kind") if options.get(name)), "")
    text = " ".join(f"{asked} {result.get('text') or ''}".split())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}\u2026"


def _add_show(app: typer.Typer, session: Session) -> None:
    @app.command(help="Show a job: its options, its state, its answer; or a grid by its id")
    def show(job: JOB, as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.output import print_json

        async def work(client: "JobClient") -> int:
            from adapters.cli.grid_jobs import find_job_or_grid, print_grid

            body, grid = await find_job_or_grid(client, job)
            if as_json:
                print_json(body if grid is None else grid)
            elif grid is not None:
                print_grid(grid)
            else:
                _print_job(body)
            return 0

        return run_with_job_client(session, config, data_dir, work)


def _print_job(job: "JobBody") -> None:
    from adapters.cli.output import print_aligned, print_line, program_name
    from adapters.cli.progress import format_job_progress

    result, error = job["result"] or {}, job["error"] or {}
    print_line(f"{job['id']}  {job['command']}")
    print_aligned("created", _local_time(job), width=22)
    print_aligned("state", error.get("message") or format_job_progress(job), width=22)
    for name, value in {**job["options"], **{name: result.get(name) for name in ("model", "seed")}}.items():
        if value not in (None, ""):
            print_aligned(name, str(value), width=22)
    media = [image for image in result.get("media", ()) if image is not None]
    if media:
        sizes = ", ".join(f"{image['width']}x{image['height']}" for image in media)
        print_aligned("images", f"{sizes} (`{program_name()} fetch {job['id'][:SHORT_ID]}` writes them)", width=22)
    for note in result.get("notes", ()):
        print_aligned("note", note, width=22)
    if result.get("text"):
        print_line(result["text"])
    if job["correction"]:
        from adapters.cli.consent_texts import describe_consent

        print_line(f"Corrected: {job['correction']['text']}")
        print_line(describe_consent(job["correction"]))


def _add_cancel(app: typer.Typer, session: Session) -> None:
    @app.command(help="Cancel a job, or a grid by its id: immediately if it waits, at its next step if it runs")
    def cancel(job: JOB, as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.output import print_json, print_line

        async def work(client: "JobClient") -> int:
            from adapters.cli.grid_jobs import find_job_or_grid, print_cancelled

            found, grid = await find_job_or_grid(client, job)
            if grid is not None:
                body = await client.cancel_batch(grid["batch"])
                print_json(body) if as_json else print_cancelled(grid, body)
                return 0
            await client.cancel_job(found["id"])
            body = await client.read_job(found["id"])
            if as_json:
                print_json(body)
            else:
                is_running = body["state"] == "running"
                print_line(f"Job {body['id']} {'will stop at its next step' if is_running else 'is cancelled'}.")
            return 0

        return run_with_job_client(session, config, data_dir, work)


def _add_export(app: typer.Typer, session: Session) -> None:
    @app.command(
        help="Write your images into a new zip, each with a JSON file that says how it was made",
        short_help="Write your images into a zip",
    )
    def export(
        file: Annotated[str, typer.Argument(metavar="FILE.zip", help="New zip file")],
        jobs: Annotated[
            list[str] | None,
            typer.Argument(metavar="JOB", help="Only these jobs, or JOB/2 for its second image (default: all)"),
        ] = None,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.zip_files import parse_pictures, require_new_zip, write_zip

        path = require_new_zip(file)
        chosen, pictures = parse_pictures(jobs or ())

        async def work(client: "JobClient") -> int:
            return await write_zip(client.export_images(chosen, pictures), path, as_json=as_json)

        return run_with_job_client(session, config, data_dir, work)


def run_with_job_client(
    session: Session, config: Path | None, data_dir: Path | None, work: Callable[["JobClient"], Awaitable[int]]
) -> int:
    """The exit code of `work`, done by the server if there is one."""
    from adapters.cli.client.open import open_job_client

    loaded = session.load_config(config, data_dir)

    async def run() -> int:
        async with open_job_client(session.composition, loaded) as client:
            return await work(client)

    return run_until_done(run())
