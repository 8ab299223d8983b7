"""Trains through the server that runs, or in this process."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from adapters.cli.client.http import HttpClient
from adapters.cli.client.open import open_service_client
from adapters.cli.ports import CompositionRoot, LoadedConfig
from bot.usecases import UseCases
from bot.usecases.training_orders import TrainingOrder
from bot.usecases.training_views import adapter_body, training_body

Body = dict[str, Any]
POLL_S = 0.5
_START_TIMEOUT_S = 300.0


class TrainingClient(Protocol):
    """Trainings with the JSON bodies of REST. Every method raises only EaselError."""

    is_remote: bool

    async def start_training(self, body: Mapping[str, Any]) -> Body: ...

    async def wait_for_training(self, name: str) -> Body:
        """Its current state, after a short wait for a change."""

    async def list_trainings(self) -> Body: ...

    async def cancel_training(self, name: str) -> Body: ...


@dataclass(frozen=True)
class LocalTrainingClient:
    usecases: UseCases
    is_remote = False

    async def start_training(self, body: Mapping[str, Any]) -> Body:
        return training_body(await self.usecases.trainings.start(TrainingOrder(**body)))

    async def wait_for_training(self, name: str) -> Body:
        training = self.usecases.trainings.find(name)
        if not training.is_finished:
            await self.usecases.trainings.wait_for_change(training)
        return training_body(self.usecases.trainings.find(name))

    async def list_trainings(self) -> Body:
        trainings = self.usecases.trainings
        return {
            "trainings": [training_body(one) for one in trainings.list_trainings()],
            "adapters": [adapter_body(one) for one in await trainings.adapters.list_adapters()],
        }

    async def cancel_training(self, name: str) -> Body:
        return training_body(await self.usecases.trainings.cancel(name))


@dataclass(frozen=True)
class HttpTrainingClient:
    client: HttpClient
    is_remote = True

    async def _send(self, method: str, path: str, **more: Any) -> Body:
        body: Body = (await self.client.send_request(method, f"/api/v1/admin/{path}", **more)).json()
        return body

    async def start_training(self, body: Mapping[str, Any]) -> Body:
        return await self._send("POST", "train", json=dict(body), timeout=_START_TIMEOUT_S)

    async def wait_for_training(self, name: str) -> Body:
        await asyncio.sleep(POLL_S)
        return await self._send("GET", f"trainings/{quote(name, safe='')}", is_safe=True)

    async def list_trainings(self) -> Body:
        return await self._send("GET", "trainings", is_safe=True)

    async def cancel_training(self, name: str) -> Body:
        return await self._send("DELETE", f"trainings/{quote(name, safe='')}")


def open_training_client(
    composition: CompositionRoot, loaded: LoadedConfig
) -> AbstractAsyncContextManager[TrainingClient]:
    """Raises: StartupError."""
    return open_service_client(composition, loaded, LocalTrainingClient, HttpTrainingClient)
