"""Loads all settings: the sections of the config, and the models that it names."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cli.ports import LoadedConfig

if TYPE_CHECKING:
    from bot.models import ModelSpec

ROOT = Path(__file__).resolve().parents[1]
ENGINES = "inference.engine.base:build_engine"


def settings_sections() -> dict[str, type]:
    """The sections of the config except `[models.NAME]`, each with its dataclass."""
    from adapters import PLATFORMS
    from adapters.registry import settings_class
    from bot.plugins.plugin_settings import PluginsSettings
    from bot.runtime.logs import LogsSettings
    from bot.safety import SafetySettings
    from bot.settings.core import ImagesSettings, QueueSettings, QuotaSettings, RetentionSettings, SearchSettings
    from inference.hardware.devices import DevicesSettings
    from inference.settings import PoolSettings
    from storage import StorageSettings

    return {
        **{name: settings_class(name, path) for name, path in PLATFORMS.items()},
        "logs": LogsSettings,
        "storage": StorageSettings,
        "retention": RetentionSettings,
        "quota": QuotaSettings,
        "queue": QueueSettings,
        "pool": PoolSettings,
        "devices": DevicesSettings,
        "images": ImagesSettings,
        "search": SearchSettings,
        "safety": SafetySettings,
        "plugins": PluginsSettings,
    }


def named_sections() -> dict[str, type]:
    """Sections with one table per name, beside `[models.NAME]`, each with the dataclass of a table."""
    from adapters.webhooks.settings import SECTION, WebhookSettings
    from bot.prompts.styles import NAMED_SECTIONS

    return {**NAMED_SECTIONS, SECTION: WebhookSettings}


def shipped_models() -> "dict[str, ModelSpec]":
    """The models and presets of the shipped `config.toml` next to main.py."""
    from bot.models import ModelSettings
    from bot.prompts.styles import NAMED_SECTIONS
    from bot.settings import read_settings

    files = [ROOT / "config.toml"]
    settings = read_settings(
        settings_sections(), model_type=ModelSettings, named=NAMED_SECTIONS, files=files, environ={}
    )
    return _build_specs(settings["models"])


def _build_specs(tables: Mapping[str, Any]) -> "dict[str, ModelSpec]":
    from bot.models import ModelSpec

    specs = {name: ModelSpec(name=name, **vars(table)) for name, table in tables.items()}
    return {
        name: replace(spec, repo=str(ROOT / spec.repo)) if (ROOT / spec.repo).is_dir() else spec
        for name, spec in specs.items()
    }


def load_settings(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> LoadedConfig:
    """Read and check all settings. Raises: ConfigError."""
    from adapters.webhooks.settings import SECTION, complete_webhooks, secret_variable
    from bot.models import ModelRegistry, ModelSettings
    from bot.settings import RenamedSetting, make_data_dir, read_secrets, read_settings, settings_files

    data_dir = make_data_dir(environ)
    files = settings_files(ROOT, data_dir, config)
    renamed: list[RenamedSetting] = []
    settings = read_settings(
        settings_sections(),
        model_type=ModelSettings,
        named=named_sections(),
        files=files,
        environ=environ,
        on_renamed=renamed.append,
    )
    specs = _build_specs(settings.pop("models"))
    secrets = read_secrets(environ, data_dir)
    webhooks = complete_webhooks(settings[SECTION], secrets.others)
    signing = {secret_variable(name): one.secret for name, one in webhooks.items()}
    return LoadedConfig(
        settings={**settings, SECTION: webhooks},
        secrets=replace(secrets, others=signing),
        data_dir=data_dir,
        models=ModelRegistry(specs),
        root=ROOT,
        files=tuple(files),
        renamed=tuple(renamed),
    )
