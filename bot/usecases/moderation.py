"""What may be asked for in a space, and what of it is shown; and who may change that.

Whatever is known before a job is accepted is refused then; the rest when it is done. What cannot be looked at is not
shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bot.commands import Command
from bot.commands.upscale import is_resize
from bot.errors import Blocked, InvalidOption
from bot.jobs import BY_BOT, Job, Origin
from bot.models import PICTURE_TASKS, ModelSpec
from bot.ports import Classifier, Described, Done, People, Rules, Spaces
from bot.prompts.grammar import words_of
from bot.safety import BlockedWords, Policy, SafetySettings, judged

OWN_PLATFORMS = frozenset({"web", "cli"})
"""Where the local person is, with a policy of their own."""
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class SpaceRules:
    """What holds in a space, and whether its admins chose it; else it is what the config says."""

    policy: Policy
    edit_others: bool
    is_policy_chosen: bool = False
    is_edit_others_chosen: bool = False


@dataclass(kw_only=True)
class Moderation:
    spaces: Spaces
    people: People
    classifier: Classifier
    settings: SafetySettings
    words: BlockedWords = field(default_factory=BlockedWords)

    _is_broken: bool = False
    """The classifier's files are here, but a device could not load them."""
    _local_id: str = ""

    # ------------------------------------------------------------ what a space allows

    async def describe(self, platform: str, space_id: str) -> SpaceRules:
        chosen = await self.spaces.policy(platform, space_id)
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
        """Choose for a space; "default" goes back to the config's, None changes nothing. Returns what holds now.

        Raises: Blocked: only admins may; InvalidOption.
        """
        if not is_admin:
            raise Blocked("admins")
        if policy not in (None, DEFAULT, *Policy):
            raise InvalidOption("policy", "choice", value=policy, allowed=", ".join([*Policy, DEFAULT]))
        chosen = await self.spaces.policy(platform, space_id)
        if policy is not None:
            chosen = replace(chosen, policy=None if policy == DEFAULT else str(policy))
        if edit_others is not None:
            chosen = replace(chosen, edit_others=None if edit_others == DEFAULT else bool(edit_others))
        await self.spaces.set_policy(platform, space_id, chosen)
        return await self.describe(platform, space_id)

    async def policy_of(self, origin: Origin) -> Policy:
        """What becomes of sexual pictures in that very channel: where children may be, they are never shown."""
        if await self._is_own(origin):
            return Policy(self.settings.local_policy)
        if origin.age_restricted is False:
            return Policy.BLOCK
        return (await self.describe(origin.platform, origin.space_id)).policy

    async def _is_own(self, origin: Origin) -> bool:
        """The local person on the page, at the command line or with a key of their own."""
        if origin.platform not in OWN_PLATFORMS:
            return False
        self._local_id = self._local_id or (await self.people.local()).id
        return origin.account_id == self._local_id

    # ------------------------------------------------------------ before a job is accepted

    async def check(self, origin: Origin, model: ModelSpec, asked: Sequence[tuple[Command, Mapping[str, Any]]]) -> None:
        """`asked`: commands of one request with their options. Raises: Blocked: they may not be asked for there."""
        for command, options in asked:
            await self._check(origin, command, model, options)

    async def _check(self, origin: Origin, command: Command, model: ModelSpec, options: Mapping[str, Any]) -> None:
        for text in _said(options):
            if problem := self.words.find(text):
                raise Blocked(problem)
        if command.task not in PICTURE_TASKS or is_resize(command.name, options):
            return
        is_others = any(image.author not in ("", BY_BOT, origin.account_id) for image in command.images)
        if is_others and not (await self.describe(origin.platform, origin.space_id)).edit_others:
            raise Blocked("others")
        if not (model.demo or origin.is_admin or await self.can_check()):
            raise Blocked("no_classifier", detail=model.name)

    async def can_check(self) -> bool:
        """Whether pictures can be looked at here, as far as is known."""
        return not self._is_broken and await self.classifier.is_here()

    # ------------------------------------------------------------ while it runs

    async def rules_of(self, job: Job, model: ModelSpec) -> Rules | None:
        """For the job's task; None: its pictures need no looking at."""
        if model.demo or job.task not in PICTURE_TASKS or is_resize(job.command, job.options):
            return None
        return Rules(
            policy=(await self.policy_of(job.origin)).value,  # children take no enums
            threshold=self.settings.threshold,
            may_be_unchecked=job.origin.is_admin,
        )

    def heard(self, described: Described) -> None:
        """A model was loaded, and with it the classifier, or not."""
        if checker := described.form.get("checker"):
            self._is_broken = checker == "broken"

    def judged(self, done: Done, rules: Rules | None) -> Done:
        """The result with each picture marked for what it is. Raises: Blocked."""
        if rules is not None and any(made.nsfw is not None for made in done.pictures):
            self._is_broken = False
        return judged(done, rules)

    # ------------------------------------------------------------ looking back

    async def may_show(self, origin: Origin, job: Job) -> bool:
        """Whether the job's pictures may be shown at `origin`, which may be elsewhere than where they were made."""
        return not job.is_adult or await self.policy_of(origin) is not Policy.BLOCK


def _said(options: Mapping[str, Any]) -> Iterator[str]:
    """What is asked for in words: each picture's prompt, and as a model reads it, without brackets between letters."""
    for prompt in {str(options.get("prompt") or ""), *options.get("prompts", ())}:
        yield prompt
        if (words := words_of(prompt)) != prompt:
            yield words
    for name in ("question", "texts"):
        yield str(options.get(name) or "")
