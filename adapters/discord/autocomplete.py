"""Suggests values while people type: at most 25, from memory. Other values can still be typed."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import discord
from discord.app_commands import Choice

from adapters.discord.context import connection_of
from adapters.discord.events import DiscordEvent
from bot.chat.admin import model_names, suggested_actions
from bot.chat.arguments import Suggestion
from bot.chat.texts import format_job_line
from bot.commands import COMMANDS
from bot.errors import EaselError
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ModelSpec
from bot.usecases import Ticket

MAX_CHOICES = 25
MAX_NAME = 100
ASPECTS = ("1:1", "3:2", "2:3", "4:3", "3:4", "16:9", "9:16", "2:1", "1:2")
SIZE_FACTORS = (0.5, 0.75, 1.0, 1.5, 2.0)
ANSWER_TIMEOUT_S = 2.0
MAX_PENDING_PER_PERSON = 3

Suggest = Callable[[discord.Interaction[Any], str], Awaitable[list[Choice[str]]]]


class TooManyPending(Exception):
    """The person's last requests have not been answered yet: this one is dropped, and Discord suggests nothing."""


@dataclass(frozen=True)
class SuggestionLimit:
    """Answers a few requests of a person at a time: each keystroke is one, and they are worthless after 3 seconds."""

    _pending: Counter[int] = field(default_factory=Counter)

    def apply_to(self, suggest: Suggest) -> Suggest:
        async def answer(interaction: discord.Interaction[Any], current: str) -> list[Choice[str]]:
            with self._hold(interaction.user.id):
                await interaction.response.autocomplete(await suggest(interaction, current[:MAX_NAME]))
            return []

        return answer

    @contextmanager
    def _hold(self, account_id: int) -> Iterator[None]:
        if self._pending[account_id] >= MAX_PENDING_PER_PERSON:
            raise TooManyPending
        self._pending[account_id] += 1
        try:
            yield
        finally:
            self._pending[account_id] -= 1
            if not self._pending[account_id]:
                del self._pending[account_id]


def is_no_lost_suggestion(record: logging.LogRecord) -> bool:
    """The library logs a traceback for each suggestion that was dropped, or that Discord no longer accepted."""
    error = record.exc_info[1] if record.exc_info else None
    is_lost = isinstance(error, TooManyPending | discord.HTTPException | aiohttp.ClientError)
    return not (is_lost and "autocomplete" in str(record.msg))


def filter_matching(values: Iterable[str], current: str) -> list[str]:
    """The values that contain the typed text, those that begin with it first."""
    typed = current.casefold().strip()
    matches = [value for value in values if typed in value.casefold()]
    return sorted(matches, key=lambda value: not value.casefold().startswith(typed))[:MAX_CHOICES]


def _choices(values: Iterable[str], current: str) -> list[Choice[str]]:
    return [Choice(name=value[:MAX_NAME], value=value[:MAX_NAME]) for value in filter_matching(values, current)]


async def suggest_models(interaction: discord.Interaction[Any], current: str) -> list[Choice[str]]:
    """The installed models that can run the command."""
    command = interaction.command.name if interaction.command is not None else ""
    tasks = {TEXT_TO_IMAGE, IMAGE_TO_IMAGE} if command == "imagine" else _tasks_for(command)
    names = [spec.name for spec in connection_of(interaction).context.usecases.models if tasks & set(spec.tasks)]
    return _choices(names, current)


async def suggest_known_models(interaction: discord.Interaction[Any], current: str) -> list[Choice[str]]:
    return _choices(model_names(connection_of(interaction).context.usecases.models), current)


def _tasks_for(command: str) -> set[str]:
    kind = COMMANDS.get(command)
    return {kind(values={}).task} if kind is not None else set()


async def suggest_sizes(interaction: discord.Interaction[Any], current: str) -> list[Choice[str]]:
    wanted = getattr(interaction.namespace, "model", None)
    known = connection_of(interaction).context.usecases.models
    spec = known.get(str(wanted)) if wanted else known.default_for(TEXT_TO_IMAGE)
    return _choices(_sizes_for(spec) if spec is not None else [], current)


def _sizes_for(spec: ModelSpec) -> list[str]:
    def side(pixels: float) -> int:
        step = spec.size_multiple
        return int(min(spec.max_size // step * step, max(-(-spec.min_size // step) * step, pixels // step * step)))

    pairs = [(side(spec.width * wide), side(spec.height * high)) for wide in SIZE_FACTORS for high in SIZE_FACTORS]
    own = (spec.width, spec.height)
    ordered = dict.fromkeys([own, *sorted(pairs, key=lambda pair: abs(pair[0] * pair[1] - own[0] * own[1]))])
    return [f"{wide}x{high}" for wide, high in ordered]


async def suggest_aspects(interaction: discord.Interaction[Any], current: str) -> list[Choice[str]]:
    return _choices(ASPECTS, current)


async def suggest_styles(interaction: discord.Interaction[Any], current: str) -> list[Choice[str]]:
    return _choices(connection_of(interaction).context.usecases.styles, current)


async def suggest_jobs(interaction: discord.Interaction[Any], current: str) -> list[Choice[str]]:
    """The person's own latest jobs."""
    return _job_choices(await _recent_jobs(interaction), interaction, current)


async def suggest_open_jobs(interaction: discord.Interaction[Any], current: str) -> list[Choice[str]]:
    """Those that can be cancelled."""
    tickets = [ticket for ticket in await _recent_jobs(interaction) if not ticket.job.state.is_final]
    return _job_choices(tickets, interaction, current)


async def _recent_jobs(interaction: discord.Interaction[Any]) -> list[Ticket]:
    user = interaction.user
    event = DiscordEvent(key="", kind="", account_id=str(user.id), account_name=user.display_name)
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await connection_of(interaction).context.find_recent_jobs(event)
    except (EaselError, TimeoutError):
        return []


def _job_choices(tickets: Iterable[Ticket], interaction: discord.Interaction[Any], current: str) -> list[Choice[str]]:
    lines = {format_job_line(ticket, str(interaction.locale)): ticket.job.id for ticket in tickets}
    return [Choice(name=line[:MAX_NAME], value=lines[line]) for line in filter_matching(lines, current)]


async def suggest_admin_actions(interaction: discord.Interaction[Any], current: str) -> list[Choice[str]]:
    return _choices(suggested_actions(getattr(interaction.namespace, "what", None)), current)


AUTOCOMPLETERS: dict[str, Any] = {
    "model": suggest_models,
    "size": suggest_sizes,
    "aspect": suggest_aspects,
    "style": suggest_styles,
}
"""By the option's name, for commands that ask for jobs."""
CHAT_AUTOCOMPLETERS: dict[Suggestion, Any] = {
    Suggestion.JOB: suggest_jobs,
    Suggestion.OPEN_JOB: suggest_open_jobs,
    Suggestion.MODEL: suggest_known_models,
    Suggestion.ADMIN_ACTION: suggest_admin_actions,
}
