"""Adapters that were trained here: which of them a request uses, switching them on and off, and removing them.

Switching needs no restart: the next request uses it. Requests that run with an adapter that is switched off or removed
end with it; those that wait, and did not name it themselves, run without it and say so.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog

from bot.commands.adapter_option import NO_ADAPTER, OPTION
from bot.errors import InvalidOption, ModelRefused
from bot.jobs import Job
from bot.model_install.adapter_folders import adapter_sha256, adapter_weights, delete_adapter_files, is_adapter_name
from bot.model_install.owner_config import write_config
from bot.models import IMAGE_TASKS, IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING, ModelRegistry, ModelSpec
from bot.options import find_nearest
from bot.ports import (
    AdapterRecord,
    AdapterStore,
    OwnerModelConfig,
    Pool,
    PromptAddon,
    TaskAdapter,
    TrainedExample,
)
from bot.problem_texts.adapter_problems import SWITCHED_OFF
from bot.prompts.addon_names import fold_name
from bot.prompts.grammar import find_lora_tags
from bot.usecases.recipes import GIVEN

log = structlog.get_logger(__name__)

_VISION_TASKS = frozenset({IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING})
_STATE_PROBLEMS = {"rejected": "adapter_rejected", "retired": "adapter_retired"}


@dataclass(kw_only=True)
class AdapterUseCases:
    """Implements `bot.ports.AdapterStore` as well, so that it knows of every change. `data_dir`: has their folders."""

    store: AdapterStore
    models: ModelRegistry
    pool: Pool
    owner_config: OwnerModelConfig
    data_dir: Path
    _records: dict[str, AdapterRecord] = field(default_factory=dict)

    # ------------------------------------------------------------ the store

    async def save_adapter(self, adapter: AdapterRecord, examples: Sequence[TrainedExample]) -> None:
        await self.store.save_adapter(adapter, examples)
        await self.refresh()

    async def list_adapters(self) -> list[AdapterRecord]:
        return await self.refresh()

    async def delete_adapter(self, name: str) -> bool:
        was_there = await self.store.delete_adapter(name)
        await self.refresh()
        return was_there

    async def retire_adapters(self, corrections: Collection[str]) -> list[AdapterRecord]:
        retired = await self.store.retire_adapters(corrections)
        await self.refresh()
        return retired

    # ------------------------------------------------------------ what there is

    async def refresh(self) -> list[AdapterRecord]:
        """All adapters, by name. Nothing stays on the disk of those that are retired."""
        records = await self.store.list_adapters()
        self._records = {one.name: one for one in records}
        gone = [one.name for one in records if one.state == "retired" and _has_folder(self.data_dir, one.name)]
        for name in gone:
            await asyncio.to_thread(self._delete_retired, name)
        return records

    def _delete_retired(self, name: str) -> None:
        """What cannot be deleted is tried again at the next refresh; it is not used, whatever it is."""
        try:
            delete_adapter_files(self.data_dir, name)
        except OSError as error:  # or another request deletes it
            log.warning("files stay", action="adapter_not_deleted", adapter=name, reason=error.strerror or str(error))
        else:
            log.info("a retired adapter's files were deleted", action="adapter_deleted", adapter=name)

    def list_loras(self) -> list[PromptAddon]:
        """Those of image models that may be used, as LoRAs for prompts; of the last `refresh`."""
        return [
            addon
            for record in self._records.values()
            if record.kind == "image" and record.state == "accepted" and (addon := self._as_lora(record)) is not None
        ]

    def _as_lora(self, record: AdapterRecord) -> PromptAddon | None:
        """None: its file is gone, or not the one that passed the test."""
        path = adapter_weights(self.data_dir, record.name)
        try:
            size = path.stat().st_size
        except OSError:
            return None
        if adapter_sha256(self.data_dir, record.name) != record.sha256:
            return None
        words = str(record.report.get("words") or "")
        family = str(record.report.get("family") or "")
        return PromptAddon(
            name=record.name,
            kind="lora",
            family=family,
            size=size,
            path=str(path),
            trigger_words=(words,) if words else (),
        )

    def usable_names(self, model: ModelSpec) -> list[str]:
        return [one.name for one in self._of_model(model) if not find_problem(one, model, self.data_dir)]

    def _of_model(self, model: ModelSpec) -> list[AdapterRecord]:
        return [one for one in self._records.values() if one.model == model.name]

    def _require(self, name: str, model: ModelSpec) -> AdapterRecord:
        """Raises: InvalidOption: a sentence says why it cannot be used."""
        record = self._records.get(name.casefold())
        if record is None or record.model != model.name:
            able = self.usable_names(model)
            near = find_nearest(name.casefold(), able, cutoff=0.5)
            problem = "adapter" if able else "no_adapter"
            raise InvalidOption(OPTION, problem, value=name, allowed=", ".join(able), nearest=near[0] if near else "")
        if problem := find_problem(record, model, self.data_dir):
            raise InvalidOption(OPTION, problem, value=record.name)
        return record

    # ------------------------------------------------------------ requests

    async def fill_options(
        self, each: Sequence[Mapping[str, Any]], model: ModelSpec, given: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The options of a request's jobs with the adapter that they will use. `given`: by the person.

        Raises: InvalidOption.
        """
        wanted = str(given.get(OPTION) or "").casefold()
        if not wanted and not model.adapters:
            return [dict(options) for options in each]
        await self.refresh()
        if wanted not in ("", NO_ADAPTER):
            self._require(wanted, model)
        if _VISION_TASKS & set(model.tasks):
            return [{**options, OPTION: wanted or self._default(model)} for options in each]
        if IMAGE_TASKS & set(model.tasks):
            names = () if wanted == NO_ADAPTER else (wanted,) if wanted else self._defaults(model)
            return [_name_loras(options, names, wanted) for options in each]
        return [dict(options) for options in each]

    def _default(self, model: ModelSpec) -> str | None:
        return next(iter(self._defaults(model)), None)

    def _defaults(self, model: ModelSpec) -> list[str]:
        """The model's adapters that can be used; an owner sees in the list of models why others cannot."""
        able = set(self.usable_names(model))
        return [name for name in model.adapters if name in able]

    async def adapter_for(self, job: Job, model: ModelSpec) -> tuple[TaskAdapter | None, str]:
        """The adapter that answers a job, and a note if that is not the one that it was accepted with.

        Raises: InvalidOption: the person asked for one that cannot be used any more.
        """
        name = str(job.options.get(OPTION) or NO_ADAPTER)
        if name == NO_ADAPTER or job.task not in _VISION_TASKS:
            return None, ""
        await self.refresh()
        if not self.is_asked(job) and name not in self._defaults(model):
            return None, SWITCHED_OFF.format(words=name)
        record = self._require(name, model)
        return TaskAdapter(record.name, record.sha256, record.revision), ""

    def is_asked(self, job: Job) -> bool:
        """Whether the person named the adapter, rather than the model's being used."""
        given = job.origin.extra.get(GIVEN)
        return not isinstance(given, dict) or bool(given.get(OPTION))

    # ------------------------------------------------------------ owners

    async def use(self, model_name: str, name: str) -> ModelSpec:
        """Use the adapter for requests that name none; "none": use no adapter.

        Raises: ModelRefused, InvalidOption.
        """
        await self.refresh()
        model = self.models.require(model_name)
        if self.models.get(model.name) is None:
            raise ModelRefused(model.display_name, "not_installed", detail=model.name)
        wanted = name.strip().casefold()
        names = () if wanted == NO_ADAPTER else (self._require(wanted, model).name,)
        self._set_adapters(model, names)
        log.info("adapter switched", action="adapter_used", model=model.name, adapter=wanted)
        return self.models.require(model.name)

    def _set_adapters(self, model: ModelSpec, names: tuple[str, ...]) -> None:
        """Raises: ModelRefused: the owner's file cannot be written."""
        write_config(lambda: self.owner_config.set_model(model.name, {"adapters": list(names)}))
        changed = replace(model, adapters=names)
        if self.models.get(model.name) is None:
            self.models.add_preset(changed)
        else:
            self.models.add_model(changed)
        self.pool.set_models(self.models.installed())

    async def has(self, name: str) -> bool:
        return name in {one.name for one in await self.refresh()}

    async def remove(self, name: str) -> int | None:
        """Delete an adapter; returns the bytes freed, None if there was none. Models that use it use it no more."""
        folded = name.strip().casefold()
        if not (await self.has(folded) or _has_folder(self.data_dir, folded)):
            return None
        for model in self.models.all_specs:
            if folded in model.adapters:
                self._set_adapters(model, tuple(one for one in model.adapters if one != folded))
        freed = await asyncio.to_thread(delete_adapter_files, self.data_dir, folded)
        await self.delete_adapter(folded)
        log.info("adapter removed", action="adapter_removed", adapter=folded)
        return freed


def find_problem(record: AdapterRecord, model: ModelSpec | None, data_dir: Path) -> str:
    """Why the adapter's model may not use it, a key of `ADAPTER_PROBLEMS` or `OWNER_PROBLEMS`; empty: it may.

    `model`: None: it is not installed.
    """
    if record.state in _STATE_PROBLEMS:
        return _STATE_PROBLEMS[record.state]
    if model is None:
        return "adapter_model"
    known = str(model.capabilities.get("revision") or model.revision)
    if record.revision and known and record.revision != known:
        return "adapter_revision"
    if not _is_on_disk(data_dir, record.name):
        return "adapter_missing"
    # Where a vision model answers, its worker checks the file that it reads.
    is_changed = record.kind == "image" and adapter_sha256(data_dir, record.name) != record.sha256
    return "adapter_changed" if is_changed else ""


def _is_on_disk(data_dir: Path, name: str) -> bool:
    return is_adapter_name(name) and adapter_weights(data_dir, name).is_file()


def _has_folder(data_dir: Path, name: str) -> bool:
    return is_adapter_name(name) and adapter_weights(data_dir, name).parent.is_dir()


def _name_loras(options: Mapping[str, Any], names: Sequence[str], wanted: str) -> dict[str, Any]:
    """With a prompt that names these LoRAs unless it does already; only "none" stays an option."""
    filled = dict(options)
    prompt = str(options.get("prompt") or "")
    filled.pop(OPTION, None)
    if wanted == NO_ADAPTER:
        filled[OPTION] = wanted
    if not prompt:
        return filled
    known = {fold_name(tag.name) for tag in find_lora_tags(prompt)}
    tags = [f"<lora:{name}:1>" for name in names if fold_name(name) not in known]
    return filled | {"prompt": " ".join((prompt, *tags))} if tags else filled
