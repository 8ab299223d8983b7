"""Tokens from the environment, from files named there, or from `secrets.env` in the data directory."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bot.errors import ConfigError
from bot.runtime.durable_files import write_atomically

SECRETS_FILE = "secrets.env"
SECRETS: Mapping[str, tuple[str, str]] = {
    "DISCORD_TOKEN": ("discord_token", "DISCORD_BOT_TOKEN"),
    "TELEGRAM_BOT_TOKEN": ("telegram_token", "TELEGRAM_TOKEN"),
    "HF_TOKEN": ("hf_token", "HF_TOKEN"),
    "CIVITAI_TOKEN": ("civitai_token", "CIVITAI_TOKEN"),
    "EASEL_TELEGRAM__WEBHOOK_SECRET": ("webhook_secret", "EASEL_TELEGRAM__WEBHOOK_SECRET"),
}
"""Each secret's variable, its field in `Secrets`, and its alias."""
OTHER_SECRETS = re.compile(r"EASEL_WEBHOOKS__[A-Z0-9_]+__SECRET")
"""Secrets that are settings of a table in the config, and may be in `secrets.env` too."""


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """The tokens; empty if not set. Their values are not part of the repr.

    Attributes:
        sources: where each variable's value comes from, for `doctor`.
        others: values of `OTHER_SECRETS` by variable, those of the settings included.
    """

    discord_token: str = field(default="", repr=False)
    telegram_token: str = field(default="", repr=False)
    hf_token: str = field(default="", repr=False)
    civitai_token: str = field(default="", repr=False)
    webhook_secret: str = field(default="", repr=False)
    sources: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict, repr=False)

    def values(self) -> tuple[str, ...]:
        """All values that are set, to be redacted in logs."""
        own = (getattr(self, name) for name, _ in SECRETS.values())
        return tuple(filter(None, (*own, *self.others.values())))

    def get(self, variable: str) -> str:
        """A secret by its variable, such as "DISCORD_TOKEN"; empty if it is not set."""
        return str(getattr(self, SECRETS[variable][0]))


def read_secrets(environ: Mapping[str, str], data_dir: Path) -> Secrets:
    """Read secrets from variables, else from files named by `..._FILE` variables, else from `secrets.env`.

    Raises: ConfigError, which never quotes a value.
    """
    problems: list[str] = []
    stored = _read_secrets_file(data_dir / SECRETS_FILE, problems)
    found: dict[str, str] = {}
    sources: dict[str, str] = {}
    for variable, (name, alias) in SECRETS.items():
        for one in dict.fromkeys((variable, alias)):
            value, source = _find_secret(one, environ, stored, problems)
            if value and name not in found:
                found[name], sources[variable] = value, source
    if problems:
        raise ConfigError(problems)
    others = {name: value for name, value in (stored | dict(environ)).items() if OTHER_SECRETS.fullmatch(name)}
    return Secrets(**found, sources=sources, others=others)


def write_secrets(data_dir: Path, values: Mapping[str, str]) -> Path:
    """Set these variables in `secrets.env`, which only its owner can read; an empty value removes one.

    Other lines stay. The file is written atomically and its path returned. Raises: OSError; ConfigError: it is not
    text.
    """
    path = data_dir / SECRETS_FILE
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        lines = ["# Tokens: only you may read this file."]
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: this is not text: move it away."]) from error
    for variable, value in values.items():
        names = {variable, SECRETS[variable][1]}
        lines = [line for line in lines if _name_of(line) not in names]
        if value:
            lines.append(f"{variable}={value}")
    write_atomically(path, "\n".join(lines) + "\n")
    return path


def _name_of(line: str) -> str:
    name, sign, _ = line.strip().removeprefix("export ").partition("=")
    return name.strip() if sign and not name.startswith("#") else ""


def _find_secret(
    name: str, environ: Mapping[str, str], stored: Mapping[str, str], problems: list[str]
) -> tuple[str, str]:
    if value := environ.get(name, "").strip():
        return value, name
    if path := environ.get(f"{name}_FILE", ""):
        try:
            return Path(path).read_text(encoding="utf-8-sig").strip(), f"{name}_FILE"
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            problems.append(f"{name}_FILE names {path}, which cannot be read: {why}.")
    return stored.get(name, ""), SECRETS_FILE


def _read_secrets_file(path: Path, problems: list[str]) -> dict[str, str]:
    """Parse `NAME=value` lines; values may be quoted, names preceded by `export`; `#` starts a comment."""
    try:
        mode = path.stat().st_mode & 0o777
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path}: this cannot be read: {getattr(error, 'strerror', None) or 'it is not text'}.")
        return {}
    if os.name == "posix" and mode & 0o077:
        problems.append(f"{path} can be read by others (mode {mode:04o}): run chmod 600 {path}.")
    known = {one for variable, (_, alias) in SECRETS.items() for one in (variable, alias)}
    stored: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        name, sign, value = line.strip().removeprefix("export ").partition("=")
        if not name or name.startswith("#"):
            continue
        if not sign or not (name.strip() in known or OTHER_SECRETS.fullmatch(name.strip())):
            problems.append(f"{path}: line {number} is not NAME=value with one of: {', '.join(sorted(known))}.")
            continue
        stored[name.strip()] = value.strip().strip("\"'")
    return stored
