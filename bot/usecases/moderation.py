"""Moderation: which requests and images a space allows, and who may change that.

What a command answers with decides: if it is images, they are judged, and so are its input images. Requests are refused
before they are accepted, where possible; images are checked when they are finished. An image that cannot be checked is
only shown where `Moderation.rules_for` says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bot.commands import COMMANDS, Answer, Command
from bot.commands.preview import needs_no_model
from bot.commands.upscale import keeps_content
from bot.errors import Blocked, InvalidOption
from bot.jobs import BY_BOT, ImageRef, Job, Origin, StoredImage
from bot.models import ModelSpec
from bot.ports import ClassifierStatus, ModelCapabilities, People, SafetyRules, SpacePolicyStore, TaskOutput
from bot.prompts.grammar import negated_readings, plain_readings, plain_text
from bot.runtime.text_worker import TextWorker
from bot.safety import BlockedWords, Policy, SafetySettings, Verdict, apply_rules

MAX_LIGHT = 500
"""Characters of a request's texts that the event loop itself looks at; some characters expand to 18 others."""
LOCAL_PLATFORMS = frozenset({"web", "cli"})
"""Platforms of the local person, who has a separate policy."""
DRAWS_WITHOUT_WORDS = frozenset({"blend", "zoom", "pan", "square"})
"""Commands whose results show what their input images do not, also without a prompt."""
DEFAULT = "default"
_TEXT_OPTIONS = ("prompt", "question", "texts", "region", "detail")
"""Options that are read as texts, beside the prompts of single images and the negative prompt."""


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
    worker: TextWorker = field(default_factory=TextWorker)

    _is_classifier_broken: bool = False
    """The classifier's files are on this machine, but a device could not load them."""

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

    async def move_space(self, platform: str, old_id: str, new_id: str) -> None:
        """A chat has another id: its rules and its jobs go along."""
        await self.spaces.move_space(platform, old_id, new_id)

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
        return origin.account_id == (await self.people.local_person()).id  # a new one, once they were forgotten

    # ------------------------------------------------------------ before a job is accepted

    async def check_request(
        self, origin: Origin, model: ModelSpec, commands: Sequence[tuple[Command, Mapping[str, Any]]]
    ) -> None:
        """`commands`: those of one request, with their options. Raises: Blocked: they are not allowed there."""
        each = [options for _, options in commands]
        await self.worker.collect(self._check_texts(each), owner=origin.account_id, is_light=_is_light(each))
        for command, options in commands:
            await self._check_command(origin, command, model, options)

    async def check_words(self, account_id: str, text: str) -> None:
        """Before the bot repeats a text, or offers to do what it says. Raises: Blocked."""
        each = [{"prompt": text}]
        await self.worker.collect(self._check_texts(each), owner=account_id, is_light=_is_light(each))

    async def check_typed(self, account_id: str, options: Mapping[str, Any]) -> None:
        """What a person typed, before a plugin sees it. Raises: Blocked."""
        others = [text for name, text in options.items() if isinstance(text, str) and name not in _TEXT_OPTIONS]
        each = [options, *({"prompt": text} for text in others)]
        await self.worker.collect(self._check_texts(each), owner=account_id, is_light=_is_light(each))

    async def check_written(self, job: Job, options: Mapping[str, Any]) -> None:
        """The texts that a plugin wrote for the job. Raises: Blocked."""
        each = [options]
        try:
            await self.worker.collect(self._check_texts(each), owner=job.origin.account_id, is_light=_is_light(each))
        except Blocked as refused:
            raise Blocked("plugin_words") from refused

    def _check_texts(self, each: Sequence[Mapping[str, Any]]) -> Iterator[None]:
        """Check each request's texts in every reading. Raises: Blocked."""
        checked: set[str] = set()
        for reading in (reading for options in each for reading in _readings(options)):
            if reading not in checked and (problem := self.words.find_reason(reading)):
                raise Blocked(problem)
            checked.add(reading)
            yield

    async def _check_command(
        self, origin: Origin, command: Command, model: ModelSpec, options: Mapping[str, Any]
    ) -> None:
        if command.answers is not Answer.IMAGES:
            return
        await self.check_authors(origin, command.images)
        if _needs_no_check(model, command.images) or await self.can_check_images():
            return
        if not (await self._build_rules(origin, command, model, options)).may_be_unchecked:
            has_model = not (model.demo or needs_no_model(command.name, options))
            raise Blocked("no_classifier" if has_model else "no_check", detail=model.name)

    async def check_authors(self, origin: Origin, images: Sequence[ImageRef]) -> None:
        """Before images are made from these. Raises: Blocked: they are other people's, and may not be edited there."""
        authors = {image.author for image in images} - {"", BY_BOT, origin.account_id}
        if not authors or (await self.space_rules(origin.platform, origin.space_id)).edit_others:
            return
        if authors - await self.people.names_of(origin.platform, origin.account_id):
            raise Blocked("others")

    async def can_check_images(self) -> bool:
        """Whether images can be checked, as far as is known."""
        return not self._is_classifier_broken and await self.classifier.is_installed()

    # ------------------------------------------------------------ while it runs

    async def rules_for(self, job: Job, model: ModelSpec) -> SafetyRules | None:
        """The rules for the job's task; None: its images need no check."""
        if not _may_answer_images(job.command) or _needs_no_check(model, job.images):
            return None
        return await self._build_rules(job.origin, job, model, job.options)

    async def _build_rules(
        self, origin: Origin, request: Job | Command, model: ModelSpec, options: Mapping[str, Any]
    ) -> SafetyRules:
        """Without a classifier, images are shown to admins, to the local person by their policy, and behind a spoiler
        in the chat where the input images were posted; there only if they show no more than these do."""
        policy, may_be_unchecked, hides_unchecked = await self.policy_for(origin), origin.is_admin, False
        if await self._is_local_person(origin):
            may_be_unchecked = policy is not Policy.BLOCK
        elif not origin.is_admin:
            is_like_input = not _draws_from_words(request, model, options)
            is_from_here = _were_posted_at(origin, request.images)
            may_be_unchecked = hides_unchecked = (
                is_like_input and is_from_here and not await self.classifier.is_installed()
            )
        return SafetyRules(
            policy=policy.value,  # workers accept no enums
            threshold=self.settings.threshold,
            may_be_unchecked=may_be_unchecked,
            hides_unchecked=hides_unchecked,
            keeps_inputs=_keeps_inputs(_name_of(request)),
        )

    async def check_caption(self, job: Job, caption: str, *, reason: str = "picture") -> None:
        """Before what a model sees in a picture, or writes, becomes a prompt, or a part of the job's. Raises: Blocked,
        with the `reason`."""
        read = {**job.options, "prompt": f"{caption}, {job.options.get('prompt') or ''}"}
        read["prompts"] = [f"{caption}, {text}" for text in job.options.get("prompts", ())]
        each = [read]
        try:
            await self.worker.collect(self._check_texts(each), owner=job.origin.account_id, is_light=_is_light(each))
        except Blocked as refused:
            raise Blocked(reason) from refused

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

    async def judge_again(self, origin: Origin, job: Job, *, picture: int = 0) -> Verdict:
        """How the job's images, or one of them, are shown at `origin`, which may differ from where they were made."""
        images = [one for one in (job.result.media if job.result else ()) if picture in (0, one.number)]
        is_spoiler = bool(job.origin.extra.get("spoiler")) or any(image.is_spoiler for image in images)
        verdicts = [Verdict.SPOILER if is_spoiler else Verdict.SHOW]
        verdicts += [await self._judge_adult(origin, job, image) for image in images if image.is_adult]
        return max(verdicts, key=list(Verdict).index)

    async def require_showable(self, origin: Origin, job: Job, *, picture: int = 0) -> Verdict:
        """The same. Raises: Blocked: they may not be shown there."""
        verdict = await self.judge_again(origin, job, picture=picture)
        if verdict is Verdict.BLOCK:
            raise Blocked("adult_here")
        return verdict

    async def _judge_adult(self, origin: Origin, job: Job, image: StoredImage) -> Verdict:
        policy = await self.policy_for(origin)
        if image.is_unchecked and not await self._is_local_person(origin):
            return Verdict.SPOILER if origin.is_admin or origin.is_same_chat(job.origin) else Verdict.BLOCK
        return {Policy.ALLOW: Verdict.SHOW, Policy.SPOILER: Verdict.SPOILER, Policy.BLOCK: Verdict.BLOCK}[policy]


def _may_answer_images(command: str) -> bool:
    """Also true of a command that no longer exists."""
    return command not in COMMANDS or COMMANDS[command].answers is Answer.IMAGES


def _keeps_inputs(command: str) -> bool:
    return command in COMMANDS and COMMANDS[command].keeps_author


def _name_of(request: Job | Command) -> str:
    return request.name if isinstance(request, Command) else request.command


def _needs_no_check(model: ModelSpec, images: Sequence[ImageRef]) -> bool:
    """A demo model alone cannot draw anything sexual; its input images can be."""
    return model.demo and not images


def _draws_from_words(request: Job | Command, model: ModelSpec, options: Mapping[str, Any]) -> bool:
    """Whether the result can show what its input images do not."""
    name = _name_of(request)
    if model.demo or needs_no_model(name, options) or keeps_content(name, options):
        return False
    if name in DRAWS_WITHOUT_WORDS:
        return True
    return any(options.get(words) for words in ("prompt", "negative_prompt"))


def _were_posted_at(origin: Origin, images: Sequence[ImageRef]) -> bool:
    if origin.platform in LOCAL_PLATFORMS:
        return False
    return bool(images) and not any(image.is_foreign for image in images)


def _is_light(each: Sequence[Mapping[str, Any]]) -> bool:
    """They are short and have no prompt editing, of which each step is a text."""
    texts = [text for options in each for text in (*_prompts_in(options), *_with_parts(options), _negative_in(options))]
    return sum(map(len, texts)) <= MAX_LIGHT and not any("[" in text for text in texts)


def _readings(options: Mapping[str, Any]) -> Iterator[str]:
    """A request's texts as they are written, and as the model reads them: without weighting syntax, in each step, and
    with what the negative prompt asks for by negative weights."""
    steps = int(options.get("steps") or 0)
    wanted = negated_readings(_negative_in(options), steps)
    for text in (*_prompts_in(options), *_with_parts(options)):
        yield text
        yield from plain_readings(text, steps)
        yield from (f"{plain_text(text)} {words}" for words in wanted)


def _with_parts(options: Mapping[str, Any]) -> Iterator[str]:
    """What is asked for in a part of a picture: a prompt together with what the part is named."""
    names = [str(options[name]) for name in ("region", "detail") if options.get(name)]
    prompts = (options.get("prompt"), *options.get("prompts", ()))
    if names:
        yield from (", ".join([str(prompt or ""), *names]) for prompt in prompts)


def _negative_in(options: Mapping[str, Any]) -> str:
    return str(options.get("negative_prompt") or "")


def _prompts_in(options: Mapping[str, Any]) -> Iterator[str]:
    """All texts of a request: each image's prompt, what is asked about one, and the parts of it that are named."""
    yield from options.get("prompts", ())
    for name in _TEXT_OPTIONS:
        yield str(options.get(name) or "")
