"""Image policies: as stored for a space, and as sent with a task."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class SafetyRules:
    """The rules for the images of one task.

    Attributes:
        policy: "block", "spoiler" or "allow", as it applies to the channel of the request.
        threshold: an image with this score or a higher one counts as sexual.
        may_be_unchecked: images may be shown that no classifier checked, hidden unless the policy allows everything.
        hides_unchecked: they are hidden even if it does.
        keeps_inputs: its images show what its input images do in another form, so the highest score of all counts.
        input_score: that of a picture that is shown in the images, and is no input image itself.
    """

    policy: str
    threshold: float
    may_be_unchecked: bool = False
    hides_unchecked: bool = False
    keeps_inputs: bool = False
    input_score: float | None = None

    @property
    def may_preview(self) -> bool:
        """Previews are not checked, so they are only shown where everything is allowed."""
        return self.policy == "allow" and not self.hides_unchecked


@dataclass(frozen=True, kw_only=True)
class SpacePolicy:
    """The settings of a space's admins. None: the config applies."""

    policy: str | None = None
    edit_others: bool | None = None


class SpacePolicyStore(Protocol):
    async def get_policy(self, platform: str, space_id: str) -> SpacePolicy:
        """Also of an unknown space: everything None."""

    async def set_policy(self, platform: str, space_id: str, chosen: SpacePolicy) -> None:
        """Replace the space's policy."""

    async def move_space(self, platform: str, old_id: str, new_id: str) -> None:
        """The space has another id from now on: its policy, its jobs with their pending messages, and its shares of
        the queue go along. Repeating it changes nothing."""


class ClassifierStatus(Protocol):
    async def is_installed(self) -> bool:
        """Whether the classifier's files are on this machine, in a format that may be loaded."""
