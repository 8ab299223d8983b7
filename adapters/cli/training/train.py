"""Follows a training to its end, and prints report cards."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.cli.error_output import Failure
from adapters.cli.output import print_json, print_line, print_note, print_table, program_name
from adapters.cli.ports import CompositionRoot, LoadedConfig
from adapters.cli.progress import ProgressLine
from adapters.cli.training.training_client import Body, TrainingClient, open_training_client
from bot.usecases.training_views import explain_rejection

STAGES = {
    "queued": "Waiting for another training",
    "waiting": "Waiting for people's jobs",
    "checking": "Checking the examples",
    "captioning": "Captioning the images",
    "encoding": "Encoding the images",
    "replaying": "Preparing replay",
    "training": "Training",
    "testing": "Testing",
}


async def run_training(
    composition: CompositionRoot, loaded: LoadedConfig, body: Mapping[str, Any], *, as_json: bool
) -> int:
    """Train and print the report card; exit code 1 if the adapter failed its test. Raises: EaselError."""
    async with open_training_client(composition, loaded) as client:
        status = await _follow(client, await client.start_training(body))
    if status["error"]:
        if status["report"] is not None and not as_json:
            print_report(status["name"], status["report"])
        raise Failure(status["error"], code="training_refused")
    if as_json:
        print_json(status)
    else:
        print_report(status["name"], status["report"])
        print_line(_describe_end(status))
    return 0 if status["report"]["is_accepted"] else 1


async def _follow(client: TrainingClient, status: Body) -> Body:
    name = status["name"]
    try:
        with ProgressLine() as line:
            while status["state"] == "running":
                line.show(format_progress(status), kind=status["progress"]["stage"])
                status = await client.wait_for_training(name)
    except asyncio.CancelledError:
        if client.is_remote:
            print_note(f"The server continues. `{program_name()} train cancel {name}` cancels it.")
        else:
            print_note("Stopped. The same command resumes where it stopped.")
        raise
    return status


def format_progress(status: Body) -> str:
    progress = status["progress"]
    part = f", {progress['done']} of {progress['total']}" if progress["total"] else ""
    loss = f", loss {progress['loss']:.3f}" if progress["loss"] is not None else ""
    return f"{STAGES.get(progress['stage'], 'Training')}: {status['name']}{part}{loss}"


def _describe_end(status: Body) -> str:
    name, report = status["name"], status["report"]
    if not report["is_accepted"]:
        return f"{name} stays off. {explain_rejection(report)}"
    if status["is_switched_on"]:
        off = f"`{program_name()} models use {status['model']} --adapter none` switches it off."
        return f"{name} is switched on for {status['model']}. {off}"
    return f"{name} is ready: use it in prompts as <lora:{name}:1>."


def print_report(name: str, report: Mapping[str, Any]) -> None:
    """The report card: scores without and with the adapter, then the examples."""
    print_table(("", "Without", f"With {name}"), [_score_row("New", report, "new"), _score_row("Old", report, "old")])
    if report["match_after"] is not None:
        print_note(f"Match of its samples: {report['match_before']:.2f} without, {report['match_after']:.2f} with.")
    if report.get("examples"):
        print_table(("Image", "Question", "Expected", "Without", "With"), map(_example_row, report["examples"]))
    steps, seconds, memory = report["steps"], report["seconds"], report["peak_mb"]
    print_note(f"{steps} steps in {seconds / 60:.1f} minutes, {memory} MiB of memory.")


def _score_row(title: str, report: Mapping[str, Any], which: str) -> Sequence[str]:
    return (
        title,
        *(
            f"{report[f'{which}_{when}']['right']} of {report[f'{which}_{when}']['total']}"
            for when in ("before", "after")
        ),
    )


def _example_row(example: Mapping[str, Any]) -> Sequence[str]:
    question = example["question"] or "caption"
    return (example["file"], question, *(str(example[key]) for key in ("expected", "before", "after")))


async def list_trainings(composition: CompositionRoot, loaded: LoadedConfig, *, as_json: bool) -> int:
    async with open_training_client(composition, loaded) as client:
        body = await client.list_trainings()
    if as_json:
        print_json(body)
        return 0
    unfinished = [one for one in body["trainings"] if one["state"] != "done"]
    for training in unfinished:
        print_line(_describe_unfinished(training))
    rows = [_adapter_row(one) for one in body["adapters"]]
    if rows:
        print_table(("Adapter", "Model", "State", "New", "Old"), rows)
    elif not unfinished:
        print_line(f"Nothing was trained yet: `{program_name()} train vision FOLDER` trains.")
    return 0


def _describe_unfinished(training: Body) -> str:
    """How far a training is, or why it failed."""
    return f"{training['name']}: {training['error']}" if training["error"] else format_progress(training)


def _adapter_row(adapter: Body) -> Sequence[str]:
    report = adapter["report"]
    scores = (f"{report[which]['right']} of {report[which]['total']}" for which in ("new_after", "old_after"))
    return (adapter["name"], adapter["model"], adapter["state"], *scores)


async def show_adapter(composition: CompositionRoot, loaded: LoadedConfig, name: str, *, as_json: bool) -> int:
    async with open_training_client(composition, loaded) as client:
        body = await client.list_trainings()
    unfinished = next((one for one in body["trainings"] if one["name"] == name and one["state"] != "done"), None)
    found = next((one for one in body["adapters"] if one["name"] == name), None)
    if found is None and unfinished is None:
        raise Failure(f"There is no adapter {name}: `{program_name()} train list` lists them.", code="not_found")
    if as_json:
        print_json(found or unfinished)
        return 0
    if unfinished is not None:
        print_line(_describe_unfinished(unfinished))
    if found is not None:
        print_report(name, found["report"])
        reason = f" {explain_rejection(found['report'])}" if found["state"] == "rejected" else ""
        print_line(f"{name}, for {found['model']}: {found['state']}.{reason}")
    return 0


async def cancel_training(composition: CompositionRoot, loaded: LoadedConfig, name: str) -> int:
    async with open_training_client(composition, loaded) as client:
        status = await client.cancel_training(name)
    print_line(status["error"])
    return 0
