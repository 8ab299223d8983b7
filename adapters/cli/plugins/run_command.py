"""`easel plugins run`: a command of a plugin, which becomes jobs or is answered with a text."""

import asyncio

from adapters.cli.client.open import open_job_client
from adapters.cli.client.types import JobRequest
from adapters.cli.image_files import resolve_target
from adapters.cli.job_commands import ResultPrinter, cancel_jobs, follow_jobs, submit_jobs
from adapters.cli.output import print_json, print_line
from adapters.cli.ports import CompositionRoot, LoadedConfig
from bot.plugins.command_options import LINE
from bot.usecases import PluginAnswer


async def run_plugin_command(
    composition: CompositionRoot, loaded: LoadedConfig, command: str, line: str, *, out: str | None, as_json: bool
) -> int:
    """Print the text or the results; returns the exit code. An interruption cancels the jobs. Raises: EaselError."""
    target = resolve_target(out)
    async with open_job_client(composition, loaded) as client:
        request, ids = JobRequest(command=command, options={LINE: line}), list[str]()
        try:
            await submit_jobs(client, request, ids)
            jobs = await follow_jobs(client, ids)
        except PluginAnswer as answer:
            if as_json:
                print_json({"text": answer.text})
            else:
                print_line(answer.text)
            return 0
        except asyncio.CancelledError:
            await cancel_jobs(client, ids)
            raise
        return await ResultPrinter(client, target, as_json).print_results(jobs)
