"""All settings: which tables there are, and the models that the config files name."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters.cli.ports import Loaded

if TYPE_CHECKING:
    from bot.models import ModelSpec

ROOT = Path(__file__).resolve().parents[1]
ENGINES = "inference.engine.base:build"


def settings_sections() -> dict[str, type]:
    """Every table of the config but `[models.NAME]`, and the dataclass that reads it."""
    from adapters import PLATFORMS
    from adapters.registry import platform_settings
    from bot.runtime.logs import LogsSettings
    from bot.safety import SafetySettings
    from bot.settings.core import ImagesSettings, QueueSettings, QuotaSettings, RetentionSettings
    from inference.hardware.devices import DevicesSettings
    from inference.settings import PoolSettings
    from storage import StorageSettings

    return {
        **{name: platform_settings(name, path) for name, path in PLATFORMS.items()},
        "logs": LogsSettings,
        "storage": StorageSettings,
        "retention": RetentionSettings,
        "quota": QuotaSettings,
        "queue": QueueSettings,
        "pool": PoolSettings,
        "devices": DevicesSettings,
        "images": ImagesSettings,
        "safety": SafetySettings,
    }


def shipped_models() -> "dict[str, ModelSpec]":
    """The models and presets as `config.toml` next to main.py has them."""
    from bot.models import ModelSettings
    from bot.prompts.styles import NAMED
    from bot.settings import read_settings

    files = [ROOT / "config.toml"]
    settings = read_settings(settings_sections(), model_type=ModelSettings, named=NAMED, files=files, environ={})
    return _specs(settings["models"])


def _specs(tables: Mapping[str, Any]) -> "dict[str, ModelSpec]":
    from bot.models import ModelSpec

    specs = {name: ModelSpec(name=name, **vars(table)) for name, table in tables.items()}
    return {
        name: replace(spec, repo=str(ROOT / spec.repo)) if (ROOT / spec.repo).is_dir() else spec
        for name, spec in specs.items()
    }


def load_settings(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Loaded:
    """Read and check all settings. Raises: ConfigError."""
    from bot.models import Models, ModelSettings
    from bot.prompts.styles import NAMED
    from bot.settings import make_data_dir, read_secrets, read_settings, settings_files

    data_dir = make_data_dir(environ)
    files = settings_files(ROOT, data_dir, config)
    settings = read_settings(settings_sections(), model_type=ModelSettings, named=NAMED, files=files, environ=environ)
    specs = _specs(settings.pop("models"))
    return Loaded(
        settings=settings,
        secrets=read_secrets(environ, data_dir),
        data_dir=data_dir,
        models=Models(specs),
        root=ROOT,
        files=tuple(files),
    )
