"""One round: a fresh data directory, several servers ended by SIGKILL, a last one that ends by itself, and a
verdict."""

import random
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash import records
from tests.crash.checker import Verdict, check, has_database
from tests.crash.load import draw, save
from tests.crash.points import AT_START, OFTEN, RARE
from tests.crash.processes import ServerProcess
from tests.fork_server.client import REAL_START, Forks

GONE_WITHIN_S = 5.0
"""Maximum time that child processes may outlive their killed server, seconds."""
OUTPUT = "output.txt"


@dataclass(frozen=True)
class Moment:
    """When a generation is killed: at a named point, or seconds after it was started or has opened."""

    point: str = ""
    times: int = 1
    after: str = ""
    delay_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.point} x{self.times}" if self.point else f"{self.delay_s:.2f} s after {self.after}"


def draw_moment(dice: random.Random, generation: int, open_s: float, start_s: tuple[float, float]) -> Moment:
    """`open_s`: the maximum time of a generation under load. `start_s`: the range of times while it starts."""
    match dice.choices(("start", "starting", "time", "often", "rare"), (10, 10, 40, 30, 10))[0]:
        case "start":
            return Moment(after="start", delay_s=dice.uniform(*start_s))
        case "starting":
            name = dice.choice(AT_START) if generation == 0 else "requeue_interrupted"
            return Moment(point=f"{dice.choice(('before', 'after'))} {name}")
        case "time":
            return Moment(after="load", delay_s=dice.uniform(0.0, open_s))
        case "often":
            return Moment(point=f"{dice.choice(('before', 'after'))} {dice.choice(OFTEN)}", times=dice.randint(1, 8))
        case _:
            return Moment(point=f"{dice.choice(('before', 'after'))} {dice.choice(RARE)}", times=dice.randint(1, 2))


@dataclass
class Generation:
    moment: str
    lasted_s: float
    gone_s: float | None
    accepted: int


@dataclass
class Round:
    """One seed's round.

    Attributes:
        loaded_when: the event after which a generation is under load.
        open_s: how long it may run from then on.
        idle_timeout_s: the last generation counts as stuck if nothing happens for this long.
        moments: used instead of random ones.
        injection: a protection to remove.
        forks: starts the servers.
    """

    seed: int
    kills: int
    wave: int = 8
    engine: str = "test"
    loaded_when: str = "open"
    idle_timeout_s: float = 45.0
    open_s: float = 2.0
    moments: tuple[Moment, ...] = ()
    injection: str = ""
    forks: Forks = REAL_START
    generations: list[Generation] = field(default_factory=list)
    survivors: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    seconds: float = 0.0

    @property
    def _start_s(self) -> tuple[float, float]:
        """Seconds after its start in which a server imports, migrates and recovers; a forked one has already
        imported."""
        return (0.0, 0.6) if self.forks.program else (0.3, 1.8)

    def run(self, folder: Path) -> Verdict:
        """Leaves all files in `folder`, for inspection."""
        began = time.monotonic()
        dice = random.Random(f"round {self.seed}")
        save(draw(self.seed, waves=self.kills + 1, size=self.wave, engine=self.engine), folder)
        for generation in range(self.kills):
            given = self.moments[generation : generation + 1]
            moment = given[0] if given else draw_moment(dice, generation, self.open_s, self._start_s)
            self._run_until(folder, generation, moment)
            early = self._peek(folder, generation + 1)
            if not early.is_sound:
                self.verdict = early
                break
        else:
            self._run_to_end(folder)
            self.verdict = self._judge(folder)
        self.seconds = time.monotonic() - began
        return self.verdict

    def _start(self, folder: Path, generation: int, *more: str) -> ServerProcess:
        arguments = ["-m", "tests.crash.crash_server", str(folder)]
        arguments += ["--generation", str(generation), "--seed", str(self.seed)]
        arguments += ["--inject", self.injection] if self.injection else []
        return ServerProcess([*arguments, "--engine", self.engine, *more], folder / OUTPUT, forks=self.forks)

    def _run_until(self, folder: Path, generation: int, moment: Moment) -> None:
        began = time.monotonic()
        server = self._start(folder, generation, "--point", moment.point, "--times", str(moment.times))
        try:
            if moment.after == "start":
                time.sleep(moment.delay_s)
            else:
                self._wait_for(self.loaded_when, folder, server, generation)
                self._sleep(server, self.open_s + 1 if moment.point else moment.delay_s)
            server.kill()
            gone_s = server.wait_until_gone(GONE_WITHIN_S)
        finally:
            server.close()
        self.survivors += gone_s is None
        accepted = len(_lines(folder, generation, "accepted"))
        self.generations.append(Generation(str(moment), time.monotonic() - began, gone_s, accepted))

    def _wait_for(self, event: str, folder: Path, server: ServerProcess, generation: int) -> None:
        deadline = time.monotonic() + 60
        while server.is_alive() and not _lines(folder, generation, event) and time.monotonic() < deadline:
            time.sleep(0.02)

    def _sleep(self, server: ServerProcess, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while server.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _run_to_end(self, folder: Path) -> None:
        began = time.monotonic()
        server = self._start(folder, self.kills, "--last")
        try:
            status = self._wait_for_end(folder, server)
            gone_s = server.wait_until_gone(GONE_WITHIN_S) if status is not None else 0.0
        finally:
            server.close()
        self.survivors += gone_s is None
        accepted = len(_lines(folder, self.kills, "accepted"))
        self.generations.append(Generation(f"its own end, exit {status}", time.monotonic() - began, gone_s, accepted))

    def _wait_for_end(self, folder: Path, server: ServerProcess) -> int | None:
        """Its exit status; None: it is stuck."""
        size, changed_at = -1, time.monotonic()
        while server.is_alive():
            time.sleep(0.05)
            now = sum(path.stat().st_size for path in folder.iterdir())
            if now != size:
                size, changed_at = now, time.monotonic()
            elif time.monotonic() - changed_at > self.idle_timeout_s:
                return None
        return server.wait(1)

    def _peek(self, folder: Path, kills: int) -> Verdict:
        """Check a copy: opening the original files would run the next generation's recovery."""
        with tempfile.TemporaryDirectory(prefix="easel-crash-") as place:
            copy = Path(place) / "copy"
            shutil.copytree(folder, copy)
            return check(copy, kills=kills, is_over=False) if has_database(copy) else _without_database(copy)

    def _judge(self, folder: Path) -> Verdict:
        verdict = check(folder, kills=self.kills)
        if not _lines(folder, self.kills, "quiet"):
            verdict.faults["unfinished"].append(f"the last generation did not finish: {self.generations[-1].moment}")
        if self.survivors:
            verdict.faults["survivors"].append(f"children outlived {self.survivors} servers")
        return verdict


def _without_database(folder: Path) -> Verdict:
    verdict = Verdict()
    if any(line["event"] == "accepted" for line in records.read(folder / records.EVENTS)):
        verdict.faults["lost"].append("jobs were accepted and there is no database")
    return verdict


def _lines(folder: Path, generation: int, event: str) -> list[dict[str, object]]:
    lines = records.read(folder / records.EVENTS)
    return [line for line in lines if line["event"] == event and line.get("generation") == generation]
