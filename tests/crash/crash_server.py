"""A server under load that expects to be killed: `python -m tests.crash.crash_server FOLDER --generation N`.

Its log entries follow the events: "accepted" is written only after `submit` has returned.
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

import structlog

from adapters.cli.ports import LoadedConfig
from adapters.webhooks.settings import WebhookSettings
from bot.errors import NotCancellable, QueueFull
from bot.jobs import ImageRef, JobState, Origin
from bot.models import TASKS, ModelRegistry, ModelSpec
from bot.ports import Person
from bot.runtime.lock import DataLock
from bot.safety import SafetySettings
from bot.settings import read_secrets
from bot.settings.core import ImagesSettings, QueueSettings, QuotaSettings, RetentionSettings, SearchSettings
from bot.usecases import Request
from composition.application import Application, open_application
from composition.settings import ENGINES, ROOT, load_settings
from inference.hardware.devices import DevicesSettings
from inference.settings import PoolSettings
from storage import StorageSettings
from tests.crash import records
from tests.crash.fault_injection import INJECTIONS
from tests.crash.load import CHATS, WORDS, Kind, Planned, load
from tests.crash.platform import LoggedPlatform
from tests.crash.points import Points
from tests.crash.webhook import NAME, LoggedWebhook

TEST_ENGINES = "tests.inference.engines:build"
ASKED_WITHIN_S = 1.2
REPLAYED = 3
"""Number of answered requests that a new generation repeats."""
SETTINGS = {
    # A job must survive many kills in one round.
    "queue": QueueSettings(max_interruptions=10_000, max_outstanding=1_000),
    "quota": QuotaSettings(daily_device_seconds=1e6),
    "pool": PoolSettings(nice=0, restart_backoff_s=0.05, restart_backoff_max_s=0.4, threads=2),
    "storage": StorageSettings(min_free_mb=64),
    "devices": DevicesSettings(use="cpu"),
    "images": ImagesSettings(),
    "retention": RetentionSettings(),
    "search": SearchSettings(),
    "safety": SafetySettings(classifier="models/none", second_classifier=""),
    "styles": {},
    "webhooks": {NAME: WebhookSettings(url="http://127.0.0.1:1/", secret="the-secret-of-tests")},
}


def make_config(folder: Path, engine: str) -> LoadedConfig:
    """Every model has a cost, so that the ledger is used."""
    data_dir = folder / "data"
    data_dir.mkdir(exist_ok=True)
    return LoadedConfig(
        settings=SETTINGS,
        secrets=read_secrets({}, data_dir),
        data_dir=data_dir,
        models=test_models() if engine == "test" else _starter_models(data_dir),
        root=ROOT,
    )


def test_models() -> ModelRegistry:
    return ModelRegistry(
        {"test": ModelSpec(name="test", tasks=TASKS, repo=".", steps=3, width=64, height=64, step_s=0.01)}
    )


def _starter_models(data_dir: Path) -> ModelRegistry:
    configured = load_settings(environ={"EASEL_DATA_DIR": str(data_dir)}).models
    return ModelRegistry({spec.name: replace(spec, demo=False) for spec in configured})


@dataclass
class CrashServer:
    folder: Path
    generation: int
    is_last: bool
    engine: str
    points: Points
    app: Application
    log: records.Log
    dice: random.Random
    people: dict[str, Person] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)

    # ------------------------------------------------------------ the load

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(self.app.deliverer.run_forever()),
                group.create_task(self.app.retention.run_forever()),
            ]
            dispatching = group.create_task(self.app.dispatcher.run_forever())
            async with asyncio.TaskGroup() as requests:
                for planned in self._due():
                    requests.create_task(self._ask(planned, requests))
            await self._settle()
            await self.app.dispatcher.close(5)
            await dispatching
            for helper in helpers:
                helper.cancel()

    def _due(self) -> list[Planned]:
        """This generation's wave, unanswered or uncancelled requests of earlier ones, and a few answered ones."""
        events = records.read(self.folder / records.EVENTS)
        known = {line["key"]: line["job"] for line in events if line["event"] == "accepted"}
        settled = {line["job"] for line in events if line["event"] == "cancel"}
        plan = [planned for planned in load(self.folder) if planned.wave <= self.generation]
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
        if planned.kind is Kind.LOSE_CHILD and planned.wave == self.generation:
            group.create_task(self._kill_child(person, ids[0]))

    async def _submit(self, person: Person, request: Request, key: str) -> str:
        while True:
            try:
                ticket, *_ = await self.app.usecases.jobs.submit(person, request, key=key)
            except QueueFull:
                await asyncio.sleep(0.2)
                continue
            self.log.write(event="accepted", key=key, job=ticket.job.id, generation=self.generation)
            return ticket.job.id

    async def _cancel(self, person: Person, job_id: str, kind: Kind) -> None:
        if kind is Kind.CANCEL_RUNNING:
            await self._until_it_runs(person, job_id)
        try:
            ticket = await self.app.usecases.jobs.cancel_job(person, job_id)
            outcome = str(ticket.job.state)
        except NotCancellable:
            outcome = "refused"
        self.log.write(event="cancel", job=job_id, outcome=outcome, generation=self.generation)

    async def _until_it_runs(self, person: Person, job_id: str) -> bool:
        while True:
            state = (await self.app.usecases.jobs.get_ticket(person, job_id)).job.state
            if state is not JobState.QUEUED:
                return state is JobState.RUNNING
            await asyncio.sleep(0.02)

    async def _kill_child(self, person: Person, job_id: str) -> None:
        if await self._until_it_runs(person, job_id):
            for device in self.app.dispatcher.pool._devices:  # type: ignore[attr-defined]
                if device.pid:
                    os.kill(device.pid, signal.SIGKILL)

    async def _person(self, name: str) -> Person:
        if name not in self.people:
            self.people[name] = await self.app.storage.people.identify_account("nonces", name, name)
        return self.people[name]

    async def _request(self, planned: Planned, person: Person) -> Request:
        origin = Origin(
            platform=planned.platform,
            space_id=planned.space,
            account_id=planned.person,
            chat_id="1",
            is_admin=True,
            webhook="" if planned.is_delivered else NAME,
        )
        text = WORDS[planned.kind] if self.engine == "test" else "a red circle on a blue background"
        if planned.kind is Kind.ASK:
            images = (ImageRef(await self._picture(person)),)
            question = text if self.engine == "test" else "what color is the background?"
            return Request(
                origin=origin,
                command="ask",
                options={"question": question},
                images=images,
                wants_delivery=planned.is_delivered,
            )
        options: dict[str, Any] = {"prompt": text, "seed": planned.seed}
        if self.engine != "test":
            options["steps"] = 40 if planned.kind is Kind.CANCEL_RUNNING else 2
        return Request(origin=origin, command="imagine", options=options, wants_delivery=planned.is_delivered)

    async def _picture(self, person: Person) -> str:
        """The same bytes in every generation, which keeps the request identical."""
        if person.id not in self.pictures:
            data = (Path(__file__).parent / "picture.png").read_bytes()
            self.pictures[person.id] = (await self.app.usecases.media.upload(person, data, source="web")).id
        return self.pictures[person.id]

    # ------------------------------------------------------------ the end

    async def _settle(self) -> None:
        if not self.is_last:
            await asyncio.Event().wait()
        while not await self._is_quiet():  # noqa: ASYNC110 - asked from outside, as an owner would
            await asyncio.sleep(0.05)
        await self.check("end")

    async def _is_quiet(self) -> bool:
        counts = await self.app.storage.jobs.count_by_state()
        unsent = await self.app.storage.outbox.next_due_s()
        return not counts[JobState.QUEUED] and not counts[JobState.RUNNING] and unsent is None

    async def check(self, when: str) -> None:
        """Log the storage's own audit."""
        problems = await self.app.storage.ledger.find_imbalances()
        self.log.write(event="audit", when=when, problems=problems, generation=self.generation)

    def watch_runs(self) -> None:
        """Log each task that a device runs."""
        pool: Any = self.app.dispatcher.pool
        inner = pool.run_task

        def run(task: Any) -> Any:
            self.log.write(event="run", job=task.id, generation=self.generation)
            return inner(task)

        pool.run_task = run


@contextlib.asynccontextmanager
async def open_server(options: argparse.Namespace, log: records.Log) -> AsyncIterator[CrashServer]:
    if options.inject:
        INJECTIONS[options.inject]()
    points = Points(options.point, options.times)
    points.set()
    dice = random.Random(f"{options.seed} {options.generation}")
    chats = {name: LoggedPlatform(name, options.folder, points, dice) for name in CHATS}
    config = make_config(options.folder, options.engine)
    engines = TEST_ENGINES if options.engine == "test" else ENGINES
    with DataLock(config.data_dir) as lock:
        log.write(event="locked", generation=options.generation)
        async with open_application(config, secret=lock.secret, platforms=chats, engines=engines) as app:
            app.deliverer._webhooks.sender = LoggedWebhook(log, dice)
            yield CrashServer(
                folder=options.folder,
                generation=options.generation,
                is_last=options.last,
                engine=options.engine,
                points=points,
                app=app,
                log=log,
                dice=dice,
            )


async def run(options: argparse.Namespace) -> None:
    log = records.Log(options.folder / records.EVENTS)
    log.write(event="started", generation=options.generation)
    async with open_server(options, log) as server:
        log.write(event="open", generation=options.generation)
        await server.check("start")
        server.watch_runs()
        await server.run()
        log.write(event="quiet", generation=options.generation)


def _end_with_harness() -> None:
    """Kill this process group when stdin ends, because the harness is gone."""

    def wait() -> None:
        while os.read(0, 100):  # not through sys.stdin, whose lock would be held at exit
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--generation", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("test", "starter"), default="test")
    parser.add_argument("--last", action="store_true", help="end when all is done")
    parser.add_argument("--point", default="")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--inject", choices=INJECTIONS)
    return parser.parse_args()


if __name__ == "__main__":
    structlog.configure(
        [
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    _end_with_harness()
    asyncio.run(run(parse()))
