"""What plugins do with requests: they see, change or refuse them, and turn their own commands into existing ones.

A plugin never lifts a verdict: the words of a person are checked before any plugin sees them, and what a plugin wrote
is checked with everything else before the request is accepted. It costs what it then asks for.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from bot.commands import COMMANDS, Command, find_command
from bot.error_texts import explain
from bot.errors import Blocked, InvalidOption, UserError
from bot.jobs import ImageRef, Origin
from bot.options import clean_excerpt, clean_text
from bot.plugins.hook_calls import HookCall
from bot.plugins.hook_runner import MAX_PROBLEM, HookFailed, without_words
from bot.plugins.hook_values import (
    ChatMessage,
    CommandCall,
    Panel,
    PendingRequest,
    Refusal,
    Requester,
    RunCommand,
)
from bot.plugins.plugin_commands import OwnCommand
from bot.plugins.plugin_errors import error_line, error_text
from bot.plugins.plugin_manager import PluginManager
from bot.ports import Person
from bot.problem_texts.plugin_problems import NO_EFFECT, NOT_ALLOWED, OPTIONS_CHANGED, UNUSABLE, PluginRefused
from bot.prompts.resolver import TYPED_OPTIONS
from bot.usecases.moderation import Moderation
from bot.usecases.requests import Request

MAX_SENTENCE = 500
MAX_REPLY = 4000
"""Characters of a refusal, and of a text that answers a command or a message."""
MAX_SHOWN = 200
MAX_PANELS, MAX_ROWS, MAX_CELL = 20, 100, 200
MAX_METRICS, MAX_METRIC = 500, 1e300
_METRIC = re.compile(r"[a-z][a-z0-9_]{0,60}")


class PluginAnswer(UserError):
    """A plugin's command was answered with a text, and no job was made."""

    code = "plugin_answer"

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text


@dataclass(frozen=True)
class ChangedRequest:
    """Attributes:
    typed: options that plugins changed, as they were given before; None: one was not given.
    changes: by the plugin that changed some, a note that says so.
    failures: notes on plugins that had no effect.
    """

    request: Request
    typed: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, str] = field(default_factory=dict)
    failures: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self.changes.values(), *self.failures)

    @property
    def is_changed(self) -> bool:
        return bool(self.typed)

    def as_typed(self, request: Request) -> "ChangedRequest":
        """Without the changes, which could not be used."""
        lost = (NO_EFFECT.format(name=name, reason=UNUSABLE) for name in self.changes)
        return ChangedRequest(request, failures=(*lost, *self.failures))

    def typed_of(self, command: Command) -> dict[str, Any]:
        """The options that the person gave, of the command that was made of the changed ones."""
        return {name: value for name, value in {**command.values, **self.typed}.items() if value is not None}

    def keep_typed(self, options: dict[str, Any], jobs: int) -> dict[str, Any]:
        """With the words that the person typed, so that repeating the job does not change them twice. Of several jobs,
        which have parts of them, those that plugins made."""
        typed = {name: self.typed[name] for name in TYPED_OPTIONS if name in self.typed}
        if not typed or jobs > 1:
            return options
        asked = options.get("asked") or {name: options[name] for name in TYPED_OPTIONS if name in options}
        kept = {name: value for name, value in {**asked, **typed}.items() if value is not None}
        return {**options, "asked": kept}


@dataclass(frozen=True)
class PluginRequests:
    manager: PluginManager
    moderation: Moderation

    # ------------------------------------------------------------ requests for jobs

    async def expand(self, person: Person, request: Request) -> Request:
        """The request for an existing command, if it is for a plugin's.

        Raises: PluginAnswer: the answer is a text; PluginRefused; Blocked; InvalidOption.
        """
        own = self.find_command(request.command)
        if own is None:
            return request
        options = own.read(request.options, request.line)
        await self.moderation.check_typed(request.origin.account_id, options)
        call = CommandCall(
            command=own.name, options=options, images=len(request.images), by=requester(person, request.origin)
        )
        if len(request.images) > own.declared.images:
            problem = "too_many_images" if own.declared.images else "no_images"
            raise InvalidOption("images", problem, value=len(request.images), allowed=str(own.declared.images))
        made = await self._run(own, call)
        if isinstance(made, str):
            raise PluginAnswer(await self._check_reply(request.origin, made))
        kind = COMMANDS[made.command]
        images = tuple(_with_role(image, kind.roles) for image in request.images)
        origin = replace(request.origin, extra={**request.origin.extra, "plugin_command": own.name})
        return replace(request, origin=origin, command=kind.name, options=dict(made.options), line=None, images=images)

    async def _run(self, own: OwnCommand, call: CommandCall) -> RunCommand | str:
        """Raises: PluginRefused, Blocked."""
        plugin = self.manager.find_running(own.plugin)
        if plugin is None:
            raise PluginRefused("failed", own.plugin)
        try:
            made = await plugin.runner.call(f"/{own.name}", (own.declared.run, ("call",)), {"call": call})
        except Refusal as refusal:
            raise await self._refusal(refusal) from refusal
        except HookFailed as failed:
            raise PluginRefused("failed", own.plugin) from failed
        is_text = isinstance(made, str) and bool(made.strip())
        is_job = isinstance(made, RunCommand) and made.command in [*COMMANDS] and _is_named(made.options)
        if not (is_job if own.makes_job else is_text):
            wanted = "a RunCommand of an existing command" if own.makes_job else "a text"
            plugin.runner.report(f"/{own.name} must return {wanted}, as its answers={own.declared.answers!r} says.")
            raise PluginRefused("failed", own.plugin)
        return made

    def find_command(self, name: str) -> OwnCommand | None:
        return self.manager.commands.get(name[:64].strip().lstrip("/").casefold())

    def answers_with_text(self, name: str) -> bool:
        own = self.find_command(name)
        return own is not None and not own.makes_job

    async def accept(self, person: Person, request: Request) -> ChangedRequest:
        """The request as plugins change it. Raises: Blocked: one refuses it; InvalidOption."""
        calls = self.manager.list_calls("easel_accept")
        if not calls:
            return ChangedRequest(request)
        typed = dict(request.to_command().values)
        await self.moderation.check_typed(request.origin.account_id, typed)
        options, changes, failures = dict(typed), dict[str, str](), list[str]()
        for call in calls:
            changed = await self._ask(call, person, request, options)
            if isinstance(changed, str):
                failures.append(changed)
            elif changed != options:
                changes[call.name] = OPTIONS_CHANGED.format(name=call.name, words=_describe(options, changed))
                options = changed
        before = {name: typed.get(name) for name in {*typed, *options} if typed.get(name) != options.get(name)}
        changed_request = replace(request, options=options, line=None) if before else request
        return ChangedRequest(changed_request, before, changes, tuple(failures))

    async def _ask(
        self, call: HookCall, person: Person, request: Request, options: dict[str, Any]
    ) -> dict[str, Any] | str:
        """The options as the plugin wants them, or a note: it had no effect. Raises: Blocked."""
        asked = PendingRequest(
            command=request.command,
            options=copy.deepcopy(options),
            images=len(request.images),
            by=requester(person, request.origin),
        )
        try:
            changes = await call.run(Mapping, request=asked)
        except Refusal as refusal:
            raise await self._refusal(refusal) from refusal
        except HookFailed as failed:
            return NO_EFFECT.format(name=call.name, reason=failed.reason)
        try:
            merged = {**options, **(changes or {})}
            kind = find_command(request.command)
            made = kind.from_options(_named(merged), request.images, is_album=request.wants_delivery)
        except Exception as error:  # whatever it returned
            _report(call, error, options)
            return NO_EFFECT.format(name=call.name, reason=UNUSABLE)
        return dict(made.values)

    async def _refusal(self, refusal: Refusal) -> Blocked:
        sentence = clean_excerpt(error_text(refusal), MAX_SENTENCE)
        return Blocked("plugin", detail=sentence) if sentence else Blocked("plugin_silent")

    # ------------------------------------------------------------ texts

    async def reply(self, person: Person, origin: Origin, text: str, *, is_private: bool) -> str | None:
        """What a plugin answers to a message that is no command; None: none wants to."""
        if person.is_blocked:
            return None
        message = ChatMessage(text=clean_text(text), is_private=is_private, by=requester(person, origin))
        for call in self.manager.list_calls("easel_chat_reply"):
            try:
                await self.moderation.check_words(origin.account_id, message.text)
                answer = await call.run(str, message=message)
            except (HookFailed, Refusal, Blocked):
                continue
            if answer and answer.strip():
                try:
                    return await self._check_reply(origin, answer)
                except Blocked:
                    call.plugin.runner.report(f"easel_chat_reply: {NOT_ALLOWED}")
        return None

    async def _check_reply(self, origin: Origin, text: str) -> str:
        """Raises: Blocked."""
        shown = clean_lines(text)
        await self.moderation.check_words(origin.account_id, shown)
        return shown

    @property
    def commands(self) -> Sequence[OwnCommand]:
        return tuple(self.manager.commands.values())

    async def wait_for_commands(self, known: Sequence[OwnCommand]) -> Sequence[OwnCommand]:
        """Returns them once they are others than those that are known."""
        while True:
            switched, commands = self.manager.switched, self.commands
            if commands != known:
                return commands
            await switched.wait()

    async def read_metrics(self) -> list[tuple[str, str, float]]:
        """Values by plugin and name."""
        found = []
        for call in self.manager.list_calls("easel_metrics"):
            try:
                values = dict(await call.run(Mapping) or {})
                found += [(call.name, name, float(one)) for name, one in values.items() if _is_metric(name, one)]
            except (HookFailed, Refusal):
                continue
            except Exception as error:  # whatever it returned
                _report(call, error)
        return found[:MAX_METRICS]

    async def list_panels(self, person: Person, origin: Origin) -> list[tuple[str, Panel]]:
        """With the names of the plugins that show them."""
        panels = list[tuple[str, Panel]]()
        for call in self.manager.list_calls("easel_page_panels"):
            try:
                shown = await call.run((list, tuple), viewer=requester(person, origin)) or ()
                panels += [
                    (call.name, _clean_panel(one))
                    for one in shown[:MAX_PANELS]
                    if isinstance(one, Panel) and isinstance(one.rows, list | tuple)
                ]
            except (HookFailed, Refusal):
                continue
            except Exception as error:  # whatever it returned
                _report(call, error)
        return [(name, one) for name, one in panels if origin.is_admin or not one.for_admins][:MAX_PANELS]


def _report(call: HookCall, error: Exception, typed: Mapping[str, Any] = MappingProxyType({})) -> None:
    """The plugin returned what cannot be used. `typed`: what people typed, which is left out."""
    problem = error_line(error)
    if isinstance(error, UserError):
        with suppress(Exception):  # it may be about a value that cannot be shown, such as 10**5000
            problem = explain(error)
    call.plugin.runner.report(f"{call.hook}: {without_words(problem, typed)}"[:MAX_PROBLEM])


def _clean_panel(panel: Panel) -> Panel:
    rows = [row for row in panel.rows if isinstance(row, tuple | list) and len(row) == 2]
    return replace(
        panel,
        title=clean_excerpt(str(panel.title), MAX_CELL),
        text=clean_lines(str(panel.text)),
        rows=[
            (clean_excerpt(str(name), MAX_CELL), clean_excerpt(str(value), MAX_CELL)) for name, value in rows[:MAX_ROWS]
        ],
    )


def requester(person: Person, origin: Origin) -> Requester:
    return Requester(person=person.id, platform=origin.platform, locale=origin.locale, is_admin=origin.is_admin)


def clean_lines(text: str, longest: int = MAX_REPLY) -> str:
    """A text of a plugin for people: its lines, each cleaned."""
    return "\n".join(clean_text(line) for line in text[: longest * 2].splitlines())[:longest].strip()


def _is_metric(name: object, value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_METRIC
    return is_number and isinstance(name, str) and _METRIC.fullmatch(name) is not None


def _is_named(options: object) -> bool:
    return isinstance(options, Mapping) and all(isinstance(name, str) for name in options)


def _named(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises: ValueError."""
    if not _is_named(options):
        raise ValueError("it must return options by their names")
    return options


def _with_role(image: ImageRef, roles: tuple[str, ...]) -> ImageRef:
    return replace(image, role=roles[0]) if roles and image.role not in roles else image


def _describe(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """`steps 30, style oil`: the options that are different, with their values now."""
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(
        f"{name} {clean_excerpt(str(after[name]), MAX_SHOWN)}" if name in after else f"no {name}" for name in changed
    )
