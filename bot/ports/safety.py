"""What a space allows, as kept, and as it travels with a task."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What holds for the pictures of one task.

    Attributes:
        policy: "block", "spoiler" or "allow", as it counts in that very channel.
        threshold: the score from which on a picture is sexual.
        may_be_unchecked: an admin asked, who may have pictures that nobody can look at.
    """

    policy: str
    threshold: float
    may_be_unchecked: bool = False

    @property
    def may_preview(self) -> bool:
        """Previews are not looked at, so they are only for where everything may be shown."""
        return self.policy == "allow"


@dataclass(frozen=True, kw_only=True)
class SpacePolicy:
    """What a space's admins chose. None: what the config says."""

    policy: str | None = None
    edit_others: bool | None = None


class Spaces(Protocol):
    async def policy(self, platform: str, space_id: str) -> SpacePolicy:
        """Of a space that nobody has heard of, too."""

    async def set_policy(self, platform: str, space_id: str, chosen: SpacePolicy) -> None:
        """Takes the place of what was chosen before."""


class Classifier(Protocol):
    async def is_here(self) -> bool:
        """Whether its files are, in a form that may be loaded."""
