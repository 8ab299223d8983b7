"""One installation of a model, or the compilation of a build for it: its terms, its progress and its end."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bot.memory.fit import FitEstimate
from bot.memory.loaded_together import LoadedTogether
from bot.model_install.installer import SmokeTest
from bot.models import InstallProgress, ModelSpec
from bot.ports import BuildReport, BuildRequest, RepoListing


@dataclass(frozen=True, kw_only=True)
class InstallTerms:
    """What an owner has to know before a model is downloaded. `together`: which models would stay loaded with it."""

    spec: ModelSpec
    listings: tuple[RepoListing, ...] = ()
    fit: FitEstimate
    missing_bytes: int = 0
    free_bytes: int = 0
    is_gated: bool = False
    together: LoadedTogether | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the model, as `spec` has them: those that the owner asked to change."""

    @property
    def licences(self) -> tuple[str, ...]:
        """The model's licence, or those of its components."""
        spec = self.spec
        licence = spec.licence or next((one.licence for one in self.listings if one.licence), "")
        return spec.licences or ((licence,) if licence else ())

    @property
    def requires_licence(self) -> bool:
        """It has a licence that was not yet accepted by enabling the model."""
        return bool(self.licences) and not self.spec.demo and not self.spec.enabled


@dataclass(kw_only=True)
class Optimization:
    """What is compiled for a model. `report`: once it was tried; `is_applied`: the model runs on it now."""

    request: BuildRequest
    report: BuildReport | None = None
    is_applied: bool = False


@dataclass(kw_only=True)
class Installation:
    """The installation of one model, or the compilation of a build for it. `error`, a sentence, and `smoke_tests` are
    set at the end."""

    spec: ModelSpec
    tasks: tuple[str, ...]
    preset: ModelSpec | None = None
    """What a new model was before, and becomes again if this fails."""
    download_only: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the model, as `spec` has them, which are kept once it works."""
    progress: InstallProgress = field(default_factory=lambda: InstallProgress(stage="downloading"))
    error: str = ""
    smoke_tests: tuple[SmokeTest, ...] = ()
    optimization: Optimization | None = None
    is_finished: bool = False
    task: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_new(self) -> bool:
        return self.preset is not None
