"""`setup`: what this machine can do, which models suit it, the bots' tokens, who administers; then it fetches models.

Nothing is written before every question is answered. It can be run again: what is set is the answer to Enter.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cli.doctor import system
from adapters.cli.error_output import FAILED, BadInput, sentences
from adapters.cli.models.install import Wish, fit_line
from adapters.cli.output import note, program, tell, tell_json
from adapters.cli.setup import bot_tokens
from adapters.cli.setup.prompt import Person
from bot.errors import EaselError
from bot.memory.fit import Fit, choose, fit, gib
from bot.models import IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.runtime.lock import read_holder
from bot.settings import write_secrets
from bot.settings.overlay import Overlay
from bot.settings.places import FILE_NAME
from bot.settings.secrets import SECRETS_FILE

if TYPE_CHECKING:
    from adapters.cli.ports import Composition, Loaded

CONFIG = """\
# Your own settings; they win over the config.toml beside main.py, which lists every one with its default.
# A model of your own: a folder in the Diffusers or Transformers layout with safetensors weights. Your own models come
# before the starters. Take the marks away and give the folder:

# [models.my-sd15]
# tasks = ["text-to-image", "image-to-image"]
# repo = "/models/stable-diffusion-v1-5"
# steps = 25
# guidance_scale = 7.0
# width = 512
# height = 512

# [models.my-blip2]
# tasks = ["image-to-text", "visual-question-answering"]
# repo = "/models/blip2-opt-2.7b"
"""
SECRETS = """\
# Tokens: nobody but you may read this file. Take the marks away and put each after its sign.
# DISCORD_TOKEN=
# TELEGRAM_BOT_TOKEN=
"""
KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "image": ("pictures", (TEXT_TO_IMAGE,)),
    "vision": ("captions and answers", (VISUAL_QUESTION_ANSWERING, IMAGE_TO_TEXT)),
}
NONE = "none"
PLATFORMS = ("discord", "telegram")
_FLAGS = "--image, --vision, --discord-token-file, --telegram-token-file, --discord-admin, --telegram-admin, --yes"

Install = Callable[[Wish, Callable[[str], bool] | None], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the command line said already; None: it is asked or, where nobody can be asked, left as it is.

    Attributes:
        models: a preset's name or "none", by kind ("image", "vision").
        tokens, admins: by platform.
        accepted: models whose licences were read and accepted.
        takes_advice: with nobody to ask, the models that suit this machine are taken.
        fetches: models are fetched now; False: the command for it is told.
    """

    models: Mapping[str, str | None] = field(default_factory=dict)
    tokens: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    admins: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    accepted: tuple[str, ...] = ()
    takes_advice: bool = False
    fetches: bool = True
    as_json: bool = False

    @property
    def has_nothing(self) -> bool:
        given = (*self.models.values(), *self.tokens.values(), *self.admins.values())
        return all(one is None for one in given) and not self.takes_advice


def set_up(
    composition: "Composition", loaded: "Loaded", answers: Answers, person: Person | None, install: Install
) -> int:
    """The exit code. Raises: BadInput, ConfigError, OSError; nothing was changed then."""
    return _Setup(composition, loaded, answers, person, install).run()


class _Setup:
    def __init__(
        self, composition: "Composition", loaded: "Loaded", answers: Answers, person: Person | None, install: Install
    ) -> None:
        self.loaded, self.answers = loaded, answers
        self.person, self.install = person, install
        self.devices = system.devices_of(composition)
        self.hardware = system.machine_of(self.devices, loaded)
        self.fits = {spec.name: fit(spec, self.hardware) for spec in loaded.models.known}
        self.advice = choose(loaded.models.presets, self.hardware)
        self.tell: Callable[[str], None] = note if answers.as_json else tell
        self.bots: dict[str, bot_tokens.Bot] = {}

    def run(self) -> int:
        self._show()
        try:
            chosen = list(filter(None, (self._pick(kind) for kind in KINDS)))
            secrets = {bot_tokens.VARIABLES[one]: value for one in PLATFORMS if (value := self._token(one)) is not None}
            admins = {one: ids for one in PLATFORMS if (ids := self._admins(one, secrets)) is not None}
        except KeyboardInterrupt:
            note("Nothing was changed.")
            raise
        self._write(secrets, admins)
        standing = [self._fetch(name) for name in dict.fromkeys(chosen)]
        following = self._next(standing)
        for sentence in following:
            self.tell(sentence)
        if self.answers.as_json:
            tell_json(self._body(standing, following))
        return FAILED if any(one["error"] for one in standing) else 0

    # ------------------------------------------------------------ models

    def _show(self) -> None:
        for check in system.hardware(self.devices):
            self.tell(check.sentence)
        self.tell(f"{gib(self.hardware.disk_free_mb)} are free for models. Data: {self.loaded.data_dir}")
        for kind, (title, _) in KINDS.items():
            self.tell(f"\nModels for {title}:")
            for number, spec in enumerate(self._presets(kind), 1):
                for line in self._lines(kind, number, spec):
                    self.tell(line)
        self.tell("")

    def _lines(self, kind: str, number: int, spec: ModelSpec) -> list[str]:
        how = self.fits[spec.name]
        suits = " (suits this machine)" if self.advice[kind] == spec.name else ""
        licences = "; ".join(spec.licences or (spec.licence or "unknown",))
        trade = "" if spec.commercial or "commercial use" in licences else " Not for commercial use."
        return [
            f"  {number}. {spec.name}{suits}: {spec.called}, {gib(spec.download_mb)} to fetch.",
            f"     {fit_line(vars(how))}{_short_of_disk(how)}",
            f"     Licence: {licences}.{trade}",
        ]

    def _presets(self, kind: str) -> list[ModelSpec]:
        return [spec for spec in self.loaded.models.presets if set(KINDS[kind][1]) & set(spec.tasks)]

    def _current(self, kind: str) -> ModelSpec | None:
        """The real model that serves this kind already."""
        spec = self.loaded.models.default_for(KINDS[kind][1][0])
        return spec if spec is not None and not spec.demo else None

    def _pick(self, kind: str) -> str:
        """The model to fetch; empty: it stays as it is."""
        given = self.answers.models.get(kind)
        if given is not None:
            if problem := self._problem(kind, given):
                raise BadInput(problem)
            return "" if given.casefold() == NONE else self._named(kind, given)
        if self.person is None:
            return (self.advice[kind] or "") if self.answers.takes_advice and self._current(kind) is None else ""
        current = self._current(kind)
        default = NONE if current is not None else self.advice[kind] or NONE
        keeps = f"keeps {current.name}" if current else "keeps the starter model"
        while True:
            said = self.person.ask(f"Model for {KINDS[kind][0]}: its number or name; {NONE} {keeps}", default)
            problem = self._problem(kind, said)
            if not problem:
                return "" if said.casefold() == NONE else self._named(kind, said)
            note(problem)

    def _named(self, kind: str, said: str) -> str:
        presets = self._presets(kind)
        if said.isdecimal() and 1 <= int(said) <= len(presets):
            return presets[int(said) - 1].name
        return said.casefold()

    def _problem(self, kind: str, said: str) -> str:
        if said.casefold() == NONE:
            return ""
        names = [spec.name for spec in self._presets(kind)]
        spec = self.loaded.models.find(self._named(kind, said))
        if spec is None or not set(KINDS[kind][1]) & set(spec.tasks):
            return f"{said[:60]} is no model for {KINDS[kind][0]}: choose {', '.join(names)} or {NONE}."
        how = self.fits[spec.name]
        if how.place == "no":
            return f"{fit_line(vars(how))} `{program()} models use {spec.name} --anyway` tries it all the same."
        return f"{spec.name}:{_short_of_disk(how)} Choose another, or make room." if how.disk_mb else ""

    def _fetch(self, name: str) -> dict[str, Any]:
        """What became of it: `{"name", "in_use", "error"}`."""
        command = f"{program()} models use {name}"
        size = gib(self.loaded.models.find(name).download_mb)  # type: ignore[union-attr]
        wanted = self.answers.fetches and (
            self.person is None or self.person.confirm(f"Fetch {name} now ({size})?", default=True)
        )
        if not wanted:
            self.tell(f"{name}: `{command}` fetches it, tries it and switches to it.")
            return {"name": name, "in_use": False, "error": ""}
        ask = None if self.person is None else self.person.confirm
        try:
            self.install(Wish(name=name, accepts=name in self.answers.accepted), ask)
        except EaselError as error:
            reason = " ".join(sentences(error))
            note(f"easel: {reason}")
            self.tell(f"{name} is not in use. `{command}` tries again.")
            return {"name": name, "in_use": False, "error": reason}
        self.tell(f"{name} is in use.")
        return {"name": name, "in_use": True, "error": ""}

    # ------------------------------------------------------------ chats

    def _token(self, platform: str) -> str | None:
        """A new token, "" to forget the old one, None to leave it as it is."""
        title, variable = bot_tokens.TITLES[platform], bot_tokens.VARIABLES[platform]
        given, present = self.answers.tokens.get(platform), self.loaded.secrets.of(variable)
        source = self.loaded.secrets.sources.get(variable, SECRETS_FILE)
        if given is not None:
            token = bot_tokens.trimmed(platform, given)
            if problem := self._refusal(platform, token) if token else f"The file with {title}'s token is empty.":
                raise BadInput(problem)
            return token
        if source != SECRETS_FILE:
            self._known(platform, present, f"{title}: {source} is set, and wins over what could be kept here.")
            return None
        while self.person is not None:
            hint = "Enter keeps the present one, - forgets it" if present else "Enter leaves it out"
            said = self.person.secret(f"{title} bot token, it is not shown ({hint})")
            if not said:
                break
            if said == "-":
                return "" if present else None
            token = bot_tokens.trimmed(platform, said)
            problem = self._refusal(platform, token)
            if not problem:
                return token
            note(problem)
        self._known(platform, present, "")
        return None

    def _refusal(self, platform: str, token: str) -> str:
        """Why it cannot be the token; empty when it may be, and what the platform said is told."""
        if problem := bot_tokens.wrong_with(platform, token):
            return problem
        bot = bot_tokens.ask(platform, token, self.loaded)
        if bot.verdict == "refused":
            return bot.sentence
        self._tell_bot(bot)
        return ""

    def _known(self, platform: str, token: str, sentence: str) -> None:
        if sentence:
            self.tell(sentence)
        if token:
            self._tell_bot(bot_tokens.ask(platform, token, self.loaded))

    def _tell_bot(self, bot: bot_tokens.Bot) -> None:
        self.bots[bot.platform] = bot
        self.tell(bot.sentence)
        if bot.invite:
            where = "Invite it to a server" if bot.platform == "discord" else "Talk to it"
            self.tell(f"{where}: {bot.invite}")

    def _admins(self, platform: str, secrets: Mapping[str, str]) -> tuple[str, ...] | None:
        """Account ids; None: as they are."""
        given = self.answers.admins.get(platform)
        if given is not None:
            if problem := _wrong_ids(given):
                raise BadInput(problem)
            return given
        has_bot = secrets.get(bot_tokens.VARIABLES[platform], self.loaded.secrets.of(bot_tokens.VARIABLES[platform]))
        if self.person is None or not has_bot:
            return None
        present = getattr(self.loaded.settings.get(platform), "admins", ())
        also = " beside the application's owner" if platform == "discord" else ""
        question = f"{bot_tokens.TITLES[platform]} accounts that may administer Easel{also}: ids with commas, or {NONE}"
        while True:
            said = self.person.ask(question, ",".join(present) or NONE)
            ids = () if said.casefold() == NONE else tuple(filter(None, re.split(r"[,;\s]+", said)))
            problem = _wrong_ids(ids)
            if not problem:
                return None if ids == tuple(present) else ids
            note(problem)

    # ------------------------------------------------------------ files

    def _write(self, secrets: Mapping[str, str], admins: Mapping[str, tuple[str, ...]]) -> None:
        config, kept = self.loaded.data_dir / FILE_NAME, self.loaded.data_dir / SECRETS_FILE
        self.tell(_lay_out(config, CONFIG, 0o644))
        self.tell(_lay_out(kept, SECRETS, 0o600))
        overlay = Overlay(config)
        for platform, ids in admins.items():
            overlay.set(platform, "admins", list(ids))
        overlay.save()
        if secrets:
            write_secrets(self.loaded.data_dir, secrets)
            self.tell(f"{kept} holds {', '.join(secrets)}; only you may read it.")
        if (secrets or admins) and read_holder(self.loaded.data_dir) is not None:
            self.tell("A server runs: start it again, so that it reads what changed.")

    def _next(self, standing: list[dict[str, Any]]) -> list[str]:
        lines = []
        if self.person is None and self.answers.has_nothing:
            lines.append(f"Nobody could be asked here. With flags: {_FLAGS}; `{program()} setup --help` explains them.")
        if not standing and all(spec.demo for spec in self.loaded.models):
            lines.append(f"Real pictures: `{program()} models use NAME` fetches a model and tries it.")
        if not self.bots:
            kept = self.loaded.data_dir / SECRETS_FILE
            lines.append(f"Chats: docs/discord.md and docs/telegram.md say how to get a token; it belongs in {kept}.")
        web = self.loaded.settings.get("web")
        if os.environ.get("SSH_CONNECTION") and web is not None:
            port = web.port
            lines.append(f"The page from your own computer: `ssh -L {port}:127.0.0.1:{port} YOU@THIS-MACHINE`.")
        return [*lines, f"`{program()} doctor` says what would work; `{program()} serve` starts it."]

    def _body(self, standing: list[dict[str, Any]], following: list[str]) -> dict[str, Any]:
        return {
            "hardware": vars(self.hardware),
            "presets": [
                {
                    "name": spec.name,
                    "kind": kind,
                    "suits": self.advice[kind] == spec.name,
                    "download_mb": spec.download_mb,
                    "licences": list(spec.licences or (spec.licence,)),
                    "commercial": spec.commercial,
                    "fits": vars(self.fits[spec.name]),
                }
                for kind in KINDS
                for spec in self._presets(kind)
            ],
            "bots": {
                name: {"verdict": bot.verdict, "name": bot.name, "invite": bot.invite}
                for name, bot in self.bots.items()
            },
            "models": standing,
            "data_dir": str(self.loaded.data_dir),
            "next": following,
        }


def _short_of_disk(how: Fit) -> str:
    return f" {gib(how.disk_mb)} more would have to be free on the disk." if how.disk_mb else ""


def _wrong_ids(ids: tuple[str, ...]) -> str:
    wrong = next((one for one in ids if not re.fullmatch(r"\d{5,20}", one)), None)
    if wrong is None:
        return ""
    return (
        f"{wrong[:40]} is no account's id, which is a number: Discord shows it with developer mode on (Copy User ID), "
        "Telegram's @userinfobot says it."
    )


def _lay_out(path: Path, content: str, mode: int) -> str:
    """Raises: OSError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return f"{path} is there already; what it says stays."
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
    return f"{path} was written, with examples."
