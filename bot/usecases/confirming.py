"""Several jobs of one request are confirmed first: by a quote, or in a chat by a flag. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from bot.commands import Grid
from bot.errors import InvalidOption
from bot.ports import NewJob
from bot.usecases.requests import Request


def confirmation_required(request: Request, jobs: Sequence[NewJob]) -> InvalidOption:
    """The refusal that asks for it."""
    if not request.wants_delivery:
        problem = "grid_needs_quote" if request.command == Grid.name else "needs_quote"
        return InvalidOption("quote", problem, value=len(jobs))
    cost = sum(job.cost for job in jobs)
    if not cost:
        return InvalidOption("confirm", "needs_confirm_free", value=len(jobs))
    return InvalidOption("confirm", "needs_confirm", value=len(jobs), allowed=f"{cost:g}")


def share_price(jobs: Sequence[NewJob], cost: float) -> list[NewJob]:
    """The jobs for this price together, each for its share of it."""
    total = sum(job.cost for job in jobs)
    shares = [job.cost / total if total else 1 / len(jobs) for job in jobs]
    return [replace(job, cost=cost * share) for job, share in zip(jobs, shares, strict=True)]
