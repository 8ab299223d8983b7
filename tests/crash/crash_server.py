"""One life of a server under load: `python -m tests.crash.crash_server FOLDER --life N`. It expects to be killed.

What it says in its log it says afterwards: "accepted" only when `submit` had returned.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from adapters.cli.ports import Loaded
from bot.errors import NotCancellable, QueueFull
from bot.jobs import ImageRef, JobState, Origin
from bot.models import TASKS, Models, ModelSpec
from bot.ports import Person
from bot.runtime.lock import DataLock
from bot.safety import SafetySettings
from bot.settings import read_secrets
from bot.settings.core import ImagesSettings, QueueSettings, QuotaSettings, RetentionSettings
from bot.usecases import Request
from composition.application import Application, open_application
from composition.settings import ENGINES, ROOT, load_settings
from inference.hardware.devices import DevicesSettings
from inference.settings import PoolSettings
from storage import StorageSettings
from tests.crash import records
from tests.crash.fault_injection import SABOTAGES
from tests.crash.load import CHATS, WORDS, Kind, Planned, load
from tests.crash.platform import LoggedPlatform
from tests.crash.points import Points

TEST_ENGINES = "tests.inference.engines:build"
ASKED_WITHIN_S = 1.2
REPLAYED = 3
"""Requests already answered that a new life asks for again."""
SETTINGS = {
    # Many kills in one round are no reason to give a job up.
    "queue": QueueSettings(max_interruptions=10_000, max_outstanding=1_000),
    "quota": QuotaSettings(daily_device_seconds=1e6),
    "pool": PoolSettings(niceness=0, restart_backoff_s=0.05, restart_backoff_max_s=0.4, threads=2),
    "storage": StorageSettings(min_free_mb=64),
    "devices": DevicesSettings(use="cpu"),
    "images": ImagesSettings(),
    "retention": RetentionSettings(),
    "safety": SafetySettings(classifier="models/none"),
    "styles": {},
}


def loaded(folder: Path, engine: str) -> Loaded:
    """Every model costs here, so that the ledger moves."""
    data_dir = folder / "data"
    data_dir.mkdir(exist_ok=True)
    return Loaded(
        settings=SETTINGS,
        secrets=read_secrets({}, data_dir),
        data_dir=data_dir,
        models=test_models() if engine == "test" else _starter_models(data_dir),
        root=ROOT,
    )


def test_models() -> Models:
    return Models({"test": ModelSpec(name="test", tasks=TASKS, repo=".", steps=3, width=64, height=64, step_s=0.01)})


def _starter_models(data_dir: Path) -> Models:
    configured = load_settings(environ={"EASEL_DATA_DIR": str(data_dir)}).models
    return Models({spec.name: replace(spec, demo=False) for spec in configured})


@dataclass
class Victim:
    folder: Path
    life: int
    is_last: bool
    engine: str
    points: Points
    house: Application
    log: records.Log
    dice: random.Random
    people: dict[str, Person] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)

    # ------------------------------------------------------------ the load

    async def live(self) -> None:
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self.house.deliverer.run()), group.create_task(self.house.upkeep.run())]
            working = group.create_task(self.house.dispatcher.run())
            async with asyncio.TaskGroup() as asking:
                for planned in self._due():
                    asking.create_task(self._ask(planned, asking))
            await self._settle()
            await self.house.dispatcher.close(5)
            await working
            for keeper in keepers:
                keeper.cancel()

    def _due(self) -> list[Planned]:
        """This life's wave, what earlier lives left unanswered or uncancelled, and a few of their answered ones."""
        events = records.read(self.folder / records.EVENTS)
        known = {line["key"]: line["job"] for line in events if line["event"] == "accepted"}
        settled = {line["job"] for line in events if line["event"] == "cancel"}
        plan = [planned for planned in load(self.folder) if planned.wave <= self.life]
        answered = [one for one in plan if one.key in known and not (one.is_cancel() and known[one.key] not in settled)]
        open_ones = [one for one in plan if one not in answered]
        return [*open_ones, *self.dice.sample(answered, min(REPLAYED, len(answered)))]

    async def _ask(self, planned: Planned, group: asyncio.TaskGroup) -> None:
        await asyncio.sleep(self.dice.uniform(0, ASKED_WITHIN_S))
        person = await self._person(planned.person)
        request = await self._request(planned, person)
        times = 2 if self.dice.random() < 0.1 else 1
        ids = await asyncio.gather(*(self._submit(person, request, planned.key) for _ in range(times)))
        if planned.kind in (Kind.CANCEL_QUEUED, Kind.CANCEL_RUNNING):
            group.create_task(self._cancel(person, ids[0], planned.kind))
        if planned.kind is Kind.LOSE_CHILD and planned.wave == self.life:
            group.create_task(self._kill_child(person, ids[0]))

    async def _submit(self, person: Person, request: Request, key: str) -> str:
        while True:
            try:
                ticket, *_ = await self.house.usecases.jobs.submit(person, request, key=key)
            except QueueFull:
                await asyncio.sleep(0.2)
                continue
            self.log.write(event="accepted", key=key, job=ticket.job.id, life=self.life)
            return ticket.job.id

    async def _cancel(self, person: Person, job_id: str, kind: Kind) -> None:
        if kind is Kind.CANCEL_RUNNING:
            await self._until_it_runs(person, job_id)
        try:
            ticket = await self.house.usecases.jobs.cancel(person, job_id)
            outcome = str(ticket.job.state)
        except NotCancellable:
            outcome = "refused"
        self.log.write(event="cancel", job=job_id, outcome=outcome, life=self.life)

    async def _until_it_runs(self, person: Person, job_id: str) -> bool:
        while True:
            state = (await self.house.usecases.jobs.get(person, job_id)).job.state
            if state is not JobState.QUEUED:
                return state is JobState.RUNNING
            await asyncio.sleep(0.02)

    async def _kill_child(self, person: Person, job_id: str) -> None:
        if await self._until_it_runs(person, job_id):
            for device in self.house.dispatcher.pool._devices:  # type: ignore[attr-defined]
                if device.pid:
                    os.kill(device.pid, signal.SIGKILL)

    async def _person(self, name: str) -> Person:
        if name not in self.people:
            self.people[name] = await self.house.storage.people.identify("nonces", name, name)
        return self.people[name]

    async def _request(self, planned: Planned, person: Person) -> Request:
        origin = Origin(
            platform=planned.platform, space_id=planned.space, account_id=planned.person, chat_id="1", is_admin=True
        )
        words = WORDS[planned.kind] if self.engine == "test" else "a red circle on a blue background"
        if planned.kind is Kind.ASK:
            images = (ImageRef(await self._picture(person)),)
            question = words if self.engine == "test" else "what color is the background?"
            return Request(
                origin=origin,
                command="ask",
                options={"question": question},
                images=images,
                wants_delivery=planned.is_delivered,
            )
        options: dict[str, Any] = {"prompt": words, "seed": planned.seed}
        if self.engine != "test":
            options["steps"] = 40 if planned.kind is Kind.CANCEL_RUNNING else 2
        return Request(origin=origin, command="imagine", options=options, wants_delivery=planned.is_delivered)

    async def _picture(self, person: Person) -> str:
        """The same bytes in every life, so that the request stays the same."""
        if person.id not in self.pictures:
            data = (Path(__file__).parent / "picture.png").read_bytes()
            self.pictures[person.id] = (await self.house.usecases.media.upload(person, data)).id
        return self.pictures[person.id]

    # ------------------------------------------------------------ the end

    async def _settle(self) -> None:
        if not self.is_last:
            await asyncio.Event().wait()
        while not await self._is_quiet():  # noqa: ASYNC110 - asked from outside, as an owner would
            await asyncio.sleep(0.05)
        await self.check("end")

    async def _is_quiet(self) -> bool:
        counts = await self.house.storage.jobs.counts()
        unsent = await self.house.storage.outbox.next_due_s()
        return not counts[JobState.QUEUED] and not counts[JobState.RUNNING] and unsent is None

    async def check(self, when: str) -> None:
        """What storage itself has to say of its books."""
        problems = await self.house.storage.ledger.problems()
        self.log.write(event="audit", when=when, problems=problems, life=self.life)

    def watch_runs(self) -> None:
        """Note each time that a device is given a job."""
        pool: Any = self.house.dispatcher.pool
        inner = pool.run

        def run(task: Any) -> Any:
            self.log.write(event="run", job=task.id, life=self.life)
            return inner(task)

        pool.run = run


@contextlib.asynccontextmanager
async def opened(options: argparse.Namespace, log: records.Log) -> AsyncIterator[Victim]:
    if options.sabotage:
        SABOTAGES[options.sabotage]()
    points = Points(options.point, options.times)
    points.set()
    dice = random.Random(f"{options.seed} {options.life}")
    chats = {name: LoggedPlatform(name, options.folder, points, dice) for name in CHATS}
    house_of = loaded(options.folder, options.engine)
    engines = TEST_ENGINES if options.engine == "test" else ENGINES
    with DataLock(house_of.data_dir) as lock:
        log.write(event="locked", life=options.life)
        async with open_application(house_of, secret=lock.secret, platforms=chats, engines=engines) as house:
            yield Victim(
                folder=options.folder,
                life=options.life,
                is_last=options.last,
                engine=options.engine,
                points=points,
                house=house,
                log=log,
                dice=dice,
            )


async def live(options: argparse.Namespace) -> None:
    log = records.Log(options.folder / records.EVENTS)
    log.write(event="born", life=options.life)
    async with opened(options, log) as victim:
        log.write(event="open", life=options.life)
        await victim.check("start")
        victim.watch_runs()
        await victim.live()
        log.write(event="quiet", life=options.life)


def _end_with_harness() -> None:
    """Stdin ends when whoever started us is gone."""

    def wait() -> None:
        while os.read(0, 100):  # not through sys.stdin, whose lock would be held at exit
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--life", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("test", "starter"), default="test")
    parser.add_argument("--last", action="store_true", help="end when all is done")
    parser.add_argument("--point", default="")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--sabotage", choices=SABOTAGES)
    return parser.parse_args()


if __name__ == "__main__":
    _end_with_harness()
    asyncio.run(live(parse()))
