"""The progress of a job, by its body, in one line: on the command line and in tools."""

from typing import Any

from bot.jobs import JobState

_DONE = (JobState.RENDERED, JobState.DELIVERED)


def format_job_progress(job: dict[str, Any]) -> str:
    """The job's progress in one line."""
    left = f", about {max(1, round(job['eta_s']))} s left" if job.get("eta_s") is not None else ""
    state, progress = job["state"], job.get("progress")
    if state == "queued" and (install := job.get("install_progress")):
        percent = f", {100 * install['done'] // install['total']} %" if install["total"] else ""
        activity = "Downloading" if install["stage"] == "downloading" else "Preparing"
        return f"{activity} {install['title']}{percent}{left}."
    if state == "queued":
        position = job.get("position")
        return f"Queued{f' at position {position}' if position else ''}{left}."
    if state == "running":
        is_finishing = progress is not None and progress["phase"] == "finishing"
        return f"{_format_phase(progress)}{'' if is_finishing else left}."
    return "Done." if state in _DONE else f"Finished: {state}."


def _format_phase(progress: dict[str, Any] | None) -> str:
    match progress["phase"] if progress else "waiting":
        case "waiting":
            return "Starting"
        case "loading":
            return "Loading the model"
        case "finishing":
            return "Finishing"
    return f"Step {progress['step']} of {progress['steps']}" if progress and progress["steps"] else "Running"
