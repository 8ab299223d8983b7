"""Is the house well, and its owner's chores: readiness, figures, backup, check."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.errors import EaselError
from bot.jobs import JobState
from bot.ports import DeviceStatus, Healthy, JobStore, Maintenance


@dataclass(frozen=True)
class Operations:
    store: JobStore
    maintenance: Maintenance
    devices: Callable[[], Sequence[DeviceStatus]]

    async def readiness(self) -> list[Healthy]:
        """Whether the database answers and a worker is there."""
        return [await self._database(), self._workers()]

    async def _database(self) -> Healthy:
        try:
            counts = await self.store.counts()
        except EaselError as error:
            return Healthy(
                name="database",
                is_ok=False,
                sentence=f"The database does not answer ({error.code}).",
            )
        return Healthy(
            name="database",
            is_ok=True,
            sentence="The database answers.",
            details={str(state): count for state, count in counts.items()},
        )

    def _workers(self) -> Healthy:
        states = {status.device: status.state for status in self.devices()}
        is_ok = any(state == "ready" for state in states.values())
        sentence = "A worker is ready." if is_ok else "No worker is ready yet."
        return Healthy(name="workers", is_ok=is_ok, sentence=sentence, details=states)

    async def counts(self) -> Mapping[JobState, int]:
        return await self.store.counts()

    async def backup(self, path: Path) -> None:
        """Raises: StorageFull."""
        await self.maintenance.backup(path)

    async def check(self) -> list[str]:
        """Sentences about what is wrong with the database; empty when all is well."""
        return await self.maintenance.check()
