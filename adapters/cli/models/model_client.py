"""Manages models through the server that runs, or in this process."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from adapters.cli.client.open import open_service_client
from adapters.cli.ports import CompositionRoot, LoadedConfig
from bot.models import ModelSpec
from bot.usecases import UseCases
from bot.usecases.installations import Installation
from bot.usecases.model_scan import scan_folder
from bot.usecases.model_views import addon_body, installation_body, scan_body, spec_body, terms_body, unload_body

Body = dict[str, Any]


class ModelClient(Protocol):
    """Model management with the JSON bodies of REST. Every method raises only EaselError."""

    is_remote: bool

    async def read_terms(self, name: str, formats: Mapping[str, str]) -> Body: ...

    async def start_install(self, name: str, body: Mapping[str, Any]) -> Body: ...

    async def use_adapter(self, name: str, adapter: str) -> Body:
        """The model's status with the adapter; "none": without any."""

    async def start_optimize(self, name: str, body: Mapping[str, Any]) -> Body: ...

    async def remove_builds(self, name: str) -> int: ...

    async def wait_for_status(self, name: str) -> Body:
        """The installation's current status, after a short wait for a change."""

    async def cancel_install(self, name: str) -> Body: ...

    async def read_test_image(self, name: str) -> bytes: ...

    async def add_model(self, body: Mapping[str, Any]) -> Body: ...

    async def scan_models(self, folder: str) -> Body: ...

    async def remove_model(self, name: str, *, keep_files: bool) -> int: ...

    async def unload_models(self) -> Body: ...


@dataclass(frozen=True)
class LocalModelClient:
    usecases: UseCases
    is_remote = False

    async def read_terms(self, name: str, formats: Mapping[str, str]) -> Body:
        return terms_body(await self.usecases.model_manager.get_terms(name, **formats))

    async def start_install(self, name: str, body: Mapping[str, Any]) -> Body:
        installation = await self.usecases.model_manager.use_model(
            name,
            tasks=body["tasks"],
            licence_accepted=body["accept_licence"],
            force=body["force"],
            download_only=body["download_only"],
            weights=body["weights"],
            precision=body["precision"],
        )
        return installation_body(installation)

    async def use_adapter(self, name: str, adapter: str) -> Body:
        spec = await self.usecases.adapters.use(name, adapter)
        return installation_body(Installation(spec=spec, tasks=spec.default_for, is_finished=True))

    async def start_optimize(self, name: str, body: Mapping[str, Any]) -> Body:
        return installation_body(await self.usecases.optimizer.optimize(name, **body))

    async def remove_builds(self, name: str) -> int:
        return await self.usecases.optimizer.remove_builds(name)

    async def wait_for_status(self, name: str) -> Body:
        manager = self.usecases.model_manager
        installation = manager.status(manager.models.require(name).name)
        assert installation is not None
        if not installation.is_finished:
            await manager.wait_for_change(installation)
        return installation_body(installation)

    async def cancel_install(self, name: str) -> Body:
        return installation_body(await self.usecases.model_manager.cancel_install(name))

    async def read_test_image(self, name: str) -> bytes:
        installation = self.usecases.model_manager.status(name)
        tests = installation.smoke_tests if installation else ()
        return next(test.image.data for test in tests if test.image is not None)

    async def add_model(self, body: Mapping[str, Any]) -> Body:
        values = dict(body)
        added = await self.usecases.catalogue.add_model(values.pop("source"), **values)
        return {"model": spec_body(added)} if isinstance(added, ModelSpec) else {"addition": addon_body(added)}

    async def scan_models(self, folder: str) -> Body:
        return scan_body(folder, await scan_folder(self.usecases.catalogue, folder))

    async def remove_model(self, name: str, *, keep_files: bool) -> int:
        return await self.usecases.catalogue.remove_model(name, keeps_files=keep_files)

    async def unload_models(self) -> Body:
        return unload_body(await self.usecases.model_manager.unload_idle_models())


def open_model_client(composition: CompositionRoot, loaded: LoadedConfig) -> AbstractAsyncContextManager[ModelClient]:
    """Raises: StartupError."""
    from adapters.cli.client.http_models import HttpModelClient

    return open_service_client(composition, loaded, LocalModelClient, HttpModelClient)
