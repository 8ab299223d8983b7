"""Moderation: which requests and images a space allows, and who may change that.

Requests are refused before they are accepted, where possible; images are checked when they are finished. An image that
cannot be checked is not shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bot.commands import Command
from bot.commands.upscale import is_resize
from bot.errors import Blocked, InvalidOption
from bot.jobs import BY_BOT, Job, Origin
from bot.models import IMAGE_TASKS, ModelSpec
from bot.ports import ClassifierStatus, ModelCapabilities, People, SafetyRules, SpacePolicyStore, TaskOutput
from bot.prompts.grammar import plain_text
from bot.safety import BlockedWords, Policy, SafetySettings, apply_rules

LOCAL_PLATFORMS = frozenset({"web", "cli"})
"""Platforms of the local person, who has a separate policy."""
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class SpaceRules:
    """The rules of a space; `is_..._chosen`: set by its admins, not by the config."""

    policy: Policy
    edit_others: bool
    is_policy_chosen: bool = False
    is_edit_others_chosen: bool = False


@dataclass(kw_only=True)
class Moderation:
    spaces: SpacePolicyStore
    people: People
    classifier: ClassifierStatus
    settings: SafetySettings
    words: BlockedWords = field(default_factory=BlockedWords)

    _is_classifier_broken: bool = False
    """The classifier's files are on this machine, but a device could not load them."""
    _local_id: str = ""

    # ------------------------------------------------------------ rules of a space

    async def space_rules(self, platform: str, space_id: str) -> SpaceRules:
        chosen = await self.spaces.get_policy(platform, space_id)
        return SpaceRules(
            policy=Policy(chosen.policy or self.settings.policy),
            edit_others=self.settings.edit_others if chosen.edit_others is None else chosen.edit_others,
            is_policy_chosen=chosen.policy is not None,
            is_edit_others_chosen=chosen.edit_others is not None,
        )

    async def set_policy(
        self,
        *,
        is_admin: bool,
        platform: str,
        space_id: str,
        policy: str | None = None,
        edit_others: bool | Literal["default"] | None = None,
    ) -> SpaceRules:
        """Set a space's policy; "default" restores the config's, None changes nothing. Returns the rules now in effect.

        Raises: Blocked: only admins may do this; InvalidOption.
        """
        if not is_admin:
            raise Blocked("admins")
        if policy not in (None, DEFAULT, *Policy):
            raise InvalidOption("policy", "choice", value=policy, allowed=", ".join([*Policy, DEFAULT]))
        chosen = await self.spaces.get_policy(platform, space_id)
        if policy is not None:
            chosen = replace(chosen, policy=None if policy == DEFAULT else str(policy))
        if edit_others is not None:
            chosen = replace(chosen, edit_others=None if edit_others == DEFAULT else bool(edit_others))
        await self.spaces.set_policy(platform, space_id, chosen)
        return await self.space_rules(platform, space_id)

    async def policy_for(self, origin: Origin) -> Policy:
        """The policy for sexual images in the origin's channel; never shown where minors may be present."""
        if await self._is_local_person(origin):
            return Policy(self.settings.local_policy)
        if origin.age_restricted is False:
            return Policy.BLOCK
        return (await self.space_rules(origin.platform, origin.space_id)).policy

    async def _is_local_person(self, origin: Origin) -> bool:
        """Whether it is the local person: on the page, on the command line, or with their own API key."""
        if origin.platform not in LOCAL_PLATFORMS:
            return False
        self._local_id = self._local_id or (await self.people.local_person()).id
        return origin.account_id == self._local_id

    # ------------------------------------------------------------ before a job is accepted

    async def check_request(
        self, origin: Origin, model: ModelSpec, commands: Sequence[tuple[Command, Mapping[str, Any]]]
    ) -> None:
        """`commands`: those of one request, with their options. Raises: Blocked: they are not allowed there."""
        for command, options in commands:
            await self._check_command(origin, command, model, options)

    async def _check_command(
        self, origin: Origin, command: Command, model: ModelSpec, options: Mapping[str, Any]
    ) -> None:
        for text in _texts_in(options):
            if problem := self.words.find_reason(text):
                raise Blocked(problem)
        if command.task not in IMAGE_TASKS or is_resize(command.name, options):
            return
        is_others = any(image.author not in ("", BY_BOT, origin.account_id) for image in command.images)
        if is_others and not (await self.space_rules(origin.platform, origin.space_id)).edit_others:
            raise Blocked("others")
        if not (model.demo or origin.is_admin or await self.can_check_images()):
            raise Blocked("no_classifier", detail=model.name)

    async def can_check_images(self) -> bool:
        """Whether images can be checked, as far as is known."""
        return not self._is_classifier_broken and await self.classifier.is_installed()

    # ------------------------------------------------------------ while it runs

    async def rules_for(self, job: Job, model: ModelSpec) -> SafetyRules | None:
        """The rules for the job's task; None: its images need no check."""
        if model.demo or job.task not in IMAGE_TASKS or is_resize(job.command, job.options):
            return None
        return SafetyRules(
            policy=(await self.policy_for(job.origin)).value,  # workers accept no enums
            threshold=self.settings.threshold,
            may_be_unchecked=job.origin.is_admin,
        )

    def on_model_loaded(self, described: ModelCapabilities) -> None:
        """Learn from a loaded model's capabilities whether the classifier was loaded too."""
        if checker := described.capabilities.get("checker"):
            self._is_classifier_broken = checker == "broken"

    def apply_rules(self, output: TaskOutput, rules: SafetyRules | None) -> TaskOutput:
        """Mark each image of the output as the rules require. Raises: Blocked."""
        if rules is not None and any(made.nsfw is not None for made in output.images):
            self._is_classifier_broken = False
        return apply_rules(output, rules)

    # ------------------------------------------------------------ showing results again

    async def may_show(self, origin: Origin, job: Job) -> bool:
        """Whether the job's images may be shown at `origin`, which may differ from where they were made."""
        return not job.is_adult or await self.policy_for(origin) is not Policy.BLOCK


def _texts_in(options: Mapping[str, Any]) -> Iterator[str]:
    """All texts of a request: each image's prompt, also without weighting syntax, as the model reads it."""
    for prompt in {str(options.get("prompt") or ""), *options.get("prompts", ())}:
        yield prompt
        if (words := plain_text(prompt)) != prompt:
            yield words
    for name in ("question", "texts"):
        yield str(options.get(name) or "")
