"""What Discord suggests while people type: from memory, at most 25. Free text is allowed all the same."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import discord
from discord.app_commands import Choice

from adapters.discord.events import DiscordEvent
from bot.chat.admin import ACTIONS, POLICIES, POLICY, names_of
from bot.chat.texts import say_line
from bot.commands import COMMANDS
from bot.errors import EaselError
from bot.jobs import JobState
from bot.models import IMAGE_TO_IMAGE, TEXT_TO_IMAGE, ModelSpec

if TYPE_CHECKING:
    from adapters.discord.client import EaselClient

MAX_CHOICES = 25
MAX_NAME = 100
ASPECTS = ("1:1", "3:2", "2:3", "4:3", "3:4", "16:9", "9:16", "2:1", "1:2")
SIZE_FACTORS = (0.5, 0.75, 1.0, 1.5, 2.0)
ANSWER_TIMEOUT_S = 2.0


def chat_name(name: str, *others: str) -> str:
    """What an option is called in chats: `negative` for `negative_prompt`."""
    return {"negative_prompt": "negative", "guidance_scale": "guidance"}.get(name, name)


def filter_matching(values: Iterable[str], current: str) -> list[str]:
    """Those that have what was typed, beginnings first."""
    typed = current.casefold().strip()
    found = [value for value in values if typed in value.casefold()]
    return sorted(found, key=lambda value: not value.casefold().startswith(typed))[:MAX_CHOICES]


def _choices(values: Iterable[str], current: str) -> list[Choice[str]]:
    return [Choice(name=value[:MAX_NAME], value=value[:MAX_NAME]) for value in filter_matching(values, current)]


async def suggest_models(interaction: "discord.Interaction[EaselClient]", current: str) -> list[Choice[str]]:
    command = interaction.command.name if interaction.command is not None else ""
    if command == "admin":
        return _choices(names_of(interaction.client.context.usecases.models), current)
    tasks = {TEXT_TO_IMAGE, IMAGE_TO_IMAGE} if command == "imagine" else _tasks_for(command)
    names = [spec.name for spec in interaction.client.context.usecases.models if tasks & set(spec.tasks)]
    return _choices(names, current)


def _tasks_for(command: str) -> set[str]:
    kind = COMMANDS.get(command)
    return {kind(values={}).task} if kind is not None else set()


async def suggest_sizes(interaction: "discord.Interaction[EaselClient]", current: str) -> list[Choice[str]]:
    wanted = getattr(interaction.namespace, "model", None)
    known = interaction.client.context.usecases.models
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


async def suggest_aspects(interaction: "discord.Interaction[EaselClient]", current: str) -> list[Choice[str]]:
    return _choices(ASPECTS, current)


async def suggest_styles(interaction: "discord.Interaction[EaselClient]", current: str) -> list[Choice[str]]:
    return _choices(interaction.client.context.usecases.styles, current)


async def suggest_jobs(interaction: "discord.Interaction[EaselClient]", current: str) -> list[Choice[str]]:
    """One's own latest, those that can be cancelled for `cancel`."""
    event = DiscordEvent(
        key="", kind="", account_id=str(interaction.user.id), account_name=interaction.user.display_name
    )
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            tickets = await interaction.client.context.find_recent_jobs(event)
    except (EaselError, TimeoutError):
        return []
    is_cancel = interaction.command is not None and interaction.command.name == "cancel"
    open_states = (JobState.QUEUED, JobState.RUNNING)
    lines = {
        say_line(ticket, str(interaction.locale)): ticket.job.id
        for ticket in tickets
        if not is_cancel or ticket.job.state in open_states
    }
    return [Choice(name=line[:MAX_NAME], value=lines[line]) for line in filter_matching(lines, current)]


async def suggest_actions(interaction: "discord.Interaction[EaselClient]", current: str) -> list[Choice[str]]:
    what = getattr(interaction.namespace, "what", None)
    return _choices(POLICIES if what == POLICY else ACTIONS, current)


AUTOCOMPLETERS: dict[str, Any] = {
    "model": suggest_models,
    "size": suggest_sizes,
    "aspect": suggest_aspects,
    "style": suggest_styles,
    "id": suggest_jobs,
    "action": suggest_actions,
}
"""By the option's name."""
