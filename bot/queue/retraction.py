"""Deletes the chat messages of what was erased, each once, as far as the platform still allows it."""

import asyncio
from dataclasses import dataclass

import structlog

from bot.ports import Delivery, Platform
from bot.ports.platform_answers import MessageGone, PlatformError, Undeliverable

log = structlog.get_logger()


@dataclass(frozen=True)
class RetractionOutcome:
    """`settled`: messages that are gone, or that nobody can delete. `error`: why the others are left for later."""

    settled: tuple[str, ...]
    error: PlatformError | TimeoutError | None = None


async def retract_messages(platform: Platform, delivery: Delivery, *, timeout_s: float) -> RetractionOutcome:
    """Delete the messages in turn, up to the first that has to wait: the others would have to as well."""
    settled: list[str] = []
    for ref in delivery.refs:
        try:
            async with asyncio.timeout(timeout_s):
                await platform.retract_message(delivery, ref)
        except MessageGone:
            pass
        except Undeliverable as error:
            log.warning("a message stays", action="message_stays", detail=error.detail)
        except (PlatformError, TimeoutError) as error:
            return RetractionOutcome(tuple(settled), error)
        settled.append(ref)
    return RetractionOutcome(tuple(settled))
