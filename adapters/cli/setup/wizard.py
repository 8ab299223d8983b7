"""`easel setup`: shows the hardware and suitable models, asks for models, bot tokens and admins, installs the models.

Nothing is written before every question is answered. It can be run again: Enter keeps the current value.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cli.doctor import compiled, system
from adapters.cli.error_output import FAILED, BadInput, error_sentences
from adapters.cli.models.install import InstallRequest, format_fit
from adapters.cli.output import print_json, print_line, print_note, program_name, with_image_wording
from adapters.cli.setup import bot_tokens
from adapters.cli.setup.prompt import Prompter
from bot.commands.ask import chats
from bot.commands.upscale import describe_upscaling
from bot.errors import EaselError
from bot.memory.fit import FitEstimate, estimate_fit, format_gib, recommend_presets
from bot.memory.format_advice import format_memory
from bot.models import IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.runtime.lock import read_holder
from bot.settings import write_secrets
from bot.settings.overlay import Overlay
from bot.settings.places import FILE_NAME
from bot.settings.secrets import SECRETS_FILE
from bot.usecases.model_views import fit_body

if TYPE_CHECKING:
    from adapters.cli.ports import CompositionRoot, LoadedConfig

CONFIG_TEMPLATE = """\
# Your own settings. They override the config.toml next to main.py, which lists every setting with its default.
# A model of your own is a folder in the Diffusers or Transformers layout with safetensors weights. Your own models are
# preferred to the starters. To add one, uncomment these lines and set the folder:

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
SECRETS_TEMPLATE = """\
# Tokens: only you may read this file. Uncomment a line and put the token after the equals sign.
# DISCORD_TOKEN=
# TELEGRAM_BOT_TOKEN=
"""
MODEL_KINDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "image": ("images", (TEXT_TO_IMAGE,)),
    "vision": ("captions and answers", (VISUAL_QUESTION_ANSWERING, IMAGE_TO_TEXT)),
}
CHATS = "It chats: several images in a question, follow-up questions, richer prompts (--enhance)."
NONE = "none"
PLATFORMS = ("discord", "telegram")
_FLAGS = "--image, --vision, --discord-token-file, --telegram-token-file, --discord-admin, --telegram-admin, --yes"

InstallModel = Callable[[InstallRequest, Callable[[str], bool] | None], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class SetupAnswers:
    """Answers given on the command line; None: the question is asked or, without a terminal, skipped.

    Attributes:
        models: a preset's name or "none", by kind ("image", "vision").
        tokens, admins: by platform.
        accepted_licences: models whose licences were read and accepted.
        use_recommended: without a terminal, install the models that suit this machine.
        download: install models now; False: print the command for it.
    """

    models: Mapping[str, str | None] = field(default_factory=dict)
    tokens: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    admins: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    accepted_licences: tuple[str, ...] = ()
    use_recommended: bool = False
    download: bool = True
    as_json: bool = False

    @property
    def is_empty(self) -> bool:
        given = (*self.models.values(), *self.tokens.values(), *self.admins.values())
        return all(one is None for one in given) and not self.use_recommended


def run_setup(
    composition: "CompositionRoot",
    loaded: "LoadedConfig",
    answers: SetupAnswers,
    prompter: Prompter | None,
    install: InstallModel,
) -> int:
    """Run the wizard and return the exit code. Raises: BadInput, ConfigError, OSError; nothing is changed then."""
    return _SetupWizard(composition, loaded, answers, prompter, install).run()


class _SetupWizard:
    def __init__(
        self,
        composition: "CompositionRoot",
        loaded: "LoadedConfig",
        answers: SetupAnswers,
        prompter: Prompter | None,
        install: InstallModel,
    ) -> None:
        self.loaded, self.answers = loaded, answers
        self.prompter, self.install = prompter, install
        self.devices = system.probe_devices(composition)
        self.hardware = system.read_machine_spec(self.devices, loaded)
        self.estimates = {spec.name: estimate_fit(spec, self.hardware) for spec in loaded.models.all_specs}
        self.recommended = recommend_presets(loaded.models.presets, self.hardware)
        self.compiled = compiled.describe_builds(composition, loaded)
        self.print_line: Callable[[str], None] = print_note if answers.as_json else print_line
        self.bots: dict[str, bot_tokens.BotInfo] = {}

    def run(self) -> int:
        self._print_overview()
        try:
            chosen = list(filter(None, (self._choose_model(kind) for kind in MODEL_KINDS)))
            tokens = {platform: self._read_token(platform) for platform in PLATFORMS}
            secrets = {bot_tokens.VARIABLES[name]: token for name, token in tokens.items() if token is not None}
            admins = {one: ids for one in PLATFORMS if (ids := self._read_admins(one, secrets)) is not None}
        except KeyboardInterrupt:
            print_note("Nothing was changed.")
            raise
        self._write_files(secrets, admins)
        results = [self._install_chosen(name) for name in dict.fromkeys(chosen)]
        next_steps = self._next_steps(results)
        for sentence in next_steps:
            self.print_line(sentence)
        if self.answers.as_json:
            print_json(self._to_json(results, next_steps))
        return FAILED if any(result["error"] for result in results) else 0

    # ------------------------------------------------------------ models

    def _print_overview(self) -> None:
        for check in system.check_hardware(self.devices):
            self.print_line(check.sentence)
        self.print_line(
            f"{format_gib(self.hardware.disk_free_mb)} free for models. Data directory: {self.loaded.data_dir}"
        )
        for kind, (title, _) in MODEL_KINDS.items():
            self.print_line(f"\nModels for {title}:")
            for number, spec in enumerate(self._presets_of(kind), 1):
                for line in self._preset_lines(kind, number, spec):
                    self.print_line(line)
        self.print_line("")

    def _preset_lines(self, kind: str, position: int, spec: ModelSpec) -> list[str]:
        estimate = self.estimates[spec.name]
        suits = " (recommended)" if self.recommended[kind] == spec.name else ""
        licences = "; ".join(spec.licences or (spec.licence or "unknown",))
        limits = "" if spec.commercial or "commercial use" in licences else " Not for commercial use."
        upscaling = with_image_wording(describe_upscaling(spec))
        return [
            f"  {position}. {spec.name}{suits}: {spec.display_name}, {format_gib(spec.download_mb)} download.",
            f"     {format_fit(fit_body(estimate))}{_disk_shortage(estimate)}",
            *(f"     {line}" for line in format_memory(spec, self.hardware)),
            *([f"     {upscaling[:1].upper()}{upscaling[1:]}."] if upscaling else []),
            *([f"     {CHATS}"] if chats(spec) else []),
            f"     Licence: {licences}.{limits}",
        ]

    def _presets_of(self, kind: str) -> list[ModelSpec]:
        return [spec for spec in self.loaded.models.presets if set(MODEL_KINDS[kind][1]) & set(spec.tasks)]

    def _current_model(self, kind: str) -> ModelSpec | None:
        """The real model that is currently the default for this kind."""
        spec = self.loaded.models.default_for(MODEL_KINDS[kind][1][0])
        return spec if spec is not None and not spec.demo else None

    def _choose_model(self, kind: str) -> str:
        """The model to install; empty: no change."""
        given = self.answers.models.get(kind)
        if given is not None:
            if problem := self._find_model_problem(kind, given):
                raise BadInput(problem)
            return "" if given.casefold() == NONE else self._preset_name(kind, given)
        current = self._current_model(kind)
        if self.prompter is None:
            return (self.recommended[kind] or "") if self.answers.use_recommended and current is None else ""
        default = NONE if current is not None else self.recommended[kind] or NONE
        keeps = f"keeps {current.name}" if current else "keeps the starter model"
        while True:
            answer = self.prompter.ask(f"Model for {MODEL_KINDS[kind][0]}: number or name; {NONE} {keeps}", default)
            problem = self._find_model_problem(kind, answer)
            if not problem:
                return "" if answer.casefold() == NONE else self._preset_name(kind, answer)
            print_note(problem)

    def _preset_name(self, kind: str, answer: str) -> str:
        presets = self._presets_of(kind)
        if answer.isdecimal() and 1 <= int(answer) <= len(presets):
            return presets[int(answer) - 1].name
        return answer.casefold()

    def _find_model_problem(self, kind: str, answer: str) -> str:
        if answer.casefold() == NONE:
            return ""
        names = [spec.name for spec in self._presets_of(kind)]
        spec = self.loaded.models.find(self._preset_name(kind, answer))
        if spec is None or not set(MODEL_KINDS[kind][1]) & set(spec.tasks):
            return f"{answer[:60]} is not a model for {MODEL_KINDS[kind][0]}: choose {', '.join(names)} or {NONE}."
        estimate = self.estimates[spec.name]
        if estimate.place == "no":
            command = f"{program_name()} models use {spec.name} --force"
            return f"{format_fit(fit_body(estimate))} `{command}` installs it anyway."
        shortage = _disk_shortage(estimate)
        return f"{spec.name}:{shortage} Choose another model, or free some space." if shortage else ""

    def _install_chosen(self, name: str) -> dict[str, Any]:
        """Install a model and return the result: `{"name", "in_use", "error"}`."""
        command = f"{program_name()} models use {name}"
        size = format_gib(self.loaded.models.find(name).download_mb)  # type: ignore[union-attr]
        wanted = self.answers.download and (
            self.prompter is None or self.prompter.confirm(f"Download {name} now ({size})?", default=True)
        )
        if not wanted:
            self.print_line(f"{name}: `{command}` installs it, tests it and switches to it.")
            return {"name": name, "in_use": False, "error": ""}
        confirm = None if self.prompter is None else self.prompter.confirm
        try:
            self.install(InstallRequest(name=name, accept_licence=name in self.answers.accepted_licences), confirm)
        except EaselError as error:
            reason = " ".join(error_sentences(error))
            print_note(f"easel: {reason}")
            self.print_line(f"{name} is not in use. `{command}` tries again.")
            return {"name": name, "in_use": False, "error": reason}
        self.print_line(f"{name} is in use.")
        return {"name": name, "in_use": True, "error": ""}

    # ------------------------------------------------------------ chats

    def _read_token(self, platform: str) -> str | None:
        """A new token, "" to delete the current one, None for no change."""
        title, variable = bot_tokens.TITLES[platform], bot_tokens.VARIABLES[platform]
        given, present = self.answers.tokens.get(platform), self.loaded.secrets.get(variable)
        source = self.loaded.secrets.sources.get(variable, SECRETS_FILE)
        if given is not None:
            token = bot_tokens.clean_token(platform, given)
            if not token:
                raise BadInput(f"The file with the {title} token is empty.")
            if problem := self._find_token_problem(platform, token):
                raise BadInput(problem)
            return token
        if source != SECRETS_FILE:
            self._check_present_token(platform, present, f"{title}: {source} is set and overrides a stored token.")
            return None
        while self.prompter is not None:
            hint = "Enter keeps the current one, - deletes it" if present else "Enter skips it"
            answer = self.prompter.secret(f"{title} bot token, hidden while you type ({hint})")
            if not answer:
                break
            if answer == "-":
                return "" if present else None
            token = bot_tokens.clean_token(platform, answer)
            problem = self._find_token_problem(platform, token)
            if not problem:
                return token
            print_note(problem)
        self._check_present_token(platform, present, "")
        return None

    def _find_token_problem(self, platform: str, token: str) -> str:
        """Why it cannot be the token; if it may be, print what the platform reports and return ""."""
        if problem := bot_tokens.find_token_problem(platform, token):
            return problem
        bot = bot_tokens.check_token(platform, token, self.loaded)
        if bot.verdict == "refused":
            return bot.sentence
        self._print_bot(bot)
        return ""

    def _check_present_token(self, platform: str, token: str, sentence: str) -> None:
        if sentence:
            self.print_line(sentence)
        if token:
            self._print_bot(bot_tokens.check_token(platform, token, self.loaded))

    def _print_bot(self, bot: bot_tokens.BotInfo) -> None:
        self.bots[bot.platform] = bot
        self.print_line(bot.sentence)
        if bot.invite:
            action = "Invite it to a server" if bot.platform == "discord" else "Open a chat with it"
            self.print_line(f"{action}: {bot.invite}")

    def _read_admins(self, platform: str, secrets: Mapping[str, str]) -> tuple[str, ...] | None:
        """Account ids; None for no change."""
        given = self.answers.admins.get(platform)
        if given is not None:
            if problem := _find_id_problem(given):
                raise BadInput(problem)
            return given
        has_bot = secrets.get(bot_tokens.VARIABLES[platform], self.loaded.secrets.get(bot_tokens.VARIABLES[platform]))
        if self.prompter is None or not has_bot:
            return None
        present = getattr(self.loaded.settings.get(platform), "admins", ())
        also = " (besides the application's owner)" if platform == "discord" else ""
        question = f"Admins of Easel on {bot_tokens.TITLES[platform]}{also}: account ids separated by commas, or {NONE}"
        while True:
            answer = self.prompter.ask(question, ",".join(present) or NONE)
            ids = () if answer.casefold() == NONE else tuple(filter(None, re.split(r"[,;\s]+", answer)))
            problem = _find_id_problem(ids)
            if not problem:
                return None if ids == tuple(present) else ids
            print_note(problem)

    # ------------------------------------------------------------ files

    def _write_files(self, secrets: Mapping[str, str], admins: Mapping[str, tuple[str, ...]]) -> None:
        config, secrets_file = self.loaded.data_dir / FILE_NAME, self.loaded.data_dir / SECRETS_FILE
        self.print_line(_create_file(config, CONFIG_TEMPLATE, 0o644))
        self.print_line(_create_file(secrets_file, SECRETS_TEMPLATE, 0o600))
        overlay = Overlay(config)
        for platform, ids in admins.items():
            overlay.set_value(platform, "admins", list(ids))
        overlay.save()
        if secrets:
            write_secrets(self.loaded.data_dir, secrets)
            self.print_line(f"Saved {', '.join(secrets)} to {secrets_file}, which only you can read.")
        if (secrets or admins) and read_holder(self.loaded.data_dir) is not None:
            self.print_line("A server is running: restart it to apply the changes.")

    def _next_steps(self, results: list[dict[str, Any]]) -> list[str]:
        lines = list(self.compiled)
        if self.prompter is None and self.answers.is_empty:
            lines.append(f"Without a terminal, use options: {_FLAGS}; see `{program_name()} setup --help`.")
        if not results and all(spec.demo for spec in self.loaded.models):
            lines.append(f"Real images: `{program_name()} models use NAME` installs a model and tests it.")
        if not self.bots:
            secrets_file = self.loaded.data_dir / SECRETS_FILE
            lines.append(f"Chat: docs/discord.md and docs/telegram.md explain how to get a token for {secrets_file}.")
        web = self.loaded.settings.get("web")
        if os.environ.get("SSH_CONNECTION") and web is not None:
            port = web.port
            lines.append(f"To open the page on your own computer: `ssh -L {port}:127.0.0.1:{port} YOU@THIS-MACHINE`.")
        return [*lines, f"`{program_name()} doctor` checks the installation; `{program_name()} serve` runs the server."]

    def _to_json(self, results: list[dict[str, Any]], next_steps: list[str]) -> dict[str, Any]:
        return {
            "hardware": vars(self.hardware),
            "presets": [
                {
                    "name": spec.name,
                    "kind": kind,
                    "suits": self.recommended[kind] == spec.name,
                    "download_mb": spec.download_mb,
                    "licences": list(spec.licences or (spec.licence,)),
                    "commercial": spec.commercial,
                    "fits": fit_body(self.estimates[spec.name]),
                }
                for kind in MODEL_KINDS
                for spec in self._presets_of(kind)
            ],
            "bots": {
                name: {"verdict": bot.verdict, "name": bot.name, "invite": bot.invite}
                for name, bot in self.bots.items()
            },
            "models": results,
            "data_dir": str(self.loaded.data_dir),
            "next": next_steps,
        }


def _disk_shortage(estimate: FitEstimate) -> str:
    return f" {format_gib(estimate.disk_mb)} more disk space is needed." if estimate.disk_mb else ""


def _find_id_problem(ids: tuple[str, ...]) -> str:
    invalid = next((one for one in ids if not re.fullmatch(r"\d{5,20}", one)), None)
    if invalid is None:
        return ""
    return (
        f"{invalid[:40]} is not an account id, which is a number. Discord: enable developer mode, then Copy User ID. "
        "Telegram: ask @userinfobot."
    )


def _create_file(path: Path, content: str, mode: int) -> str:
    """Raises: OSError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return f"{path} already exists; its settings are kept."
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
    return f"Created {path} with examples."
