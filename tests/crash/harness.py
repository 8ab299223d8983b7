"""One round: a fresh data directory, several lives that end by SIGKILL, a last one that ends by itself, a verdict."""

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
from tests.crash.processes import Victim

GONE_WITHIN_S = 5.0
"""How long children may outlive their killed server."""
OUTPUT = "output.txt"


@dataclass(frozen=True)
class Moment:
    """When a life ends: at a named point, or seconds after it was born or had opened."""

    point: str = ""
    times: int = 1
    after: str = ""
    delay_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.point} x{self.times}" if self.point else f"{self.delay_s:.2f} s after {self.after}"


def draw_moment(dice: random.Random, life: int, open_s: float) -> Moment:
    """`open_s`: the longest useful time of a life under load."""
    match dice.choices(("start", "starting", "time", "often", "rare"), (10, 10, 40, 30, 10))[0]:
        case "start":
            return Moment(after="birth", delay_s=dice.uniform(0.3, 1.8))
        case "starting":
            name = dice.choice(AT_START) if life == 0 else "recover"
            return Moment(point=f"{dice.choice(('before', 'after'))} {name}")
        case "time":
            return Moment(after="load", delay_s=dice.uniform(0.0, open_s))
        case "often":
            return Moment(point=f"{dice.choice(('before', 'after'))} {dice.choice(OFTEN)}", times=dice.randint(1, 8))
        case _:
            return Moment(point=f"{dice.choice(('before', 'after'))} {dice.choice(RARE)}", times=dice.randint(1, 2))


@dataclass
class Life:
    moment: str
    lasted_s: float
    gone_s: float | None
    accepted: int


@dataclass
class Round:
    """One seed's round.

    Attributes:
        loaded_when: the event that a life under load begins with.
        open_s: how long it may last from then on.
        silence_s: a last life in which nothing happens for so long will never come to rest.
        moments: instead of what would be drawn.
        sabotage: a protection to take away.
    """

    seed: int
    kills: int
    wave: int = 8
    engine: str = "test"
    loaded_when: str = "open"
    silence_s: float = 45.0
    open_s: float = 2.0
    moments: tuple[Moment, ...] = ()
    sabotage: str = ""
    lives: list[Life] = field(default_factory=list)
    survivors: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    seconds: float = 0.0

    def run(self, folder: Path) -> Verdict:
        """Leaves everything in `folder`, to be looked at."""
        began = time.monotonic()
        dice = random.Random(f"round {self.seed}")
        save(draw(self.seed, waves=self.kills + 1, size=self.wave, engine=self.engine), folder)
        for life in range(self.kills):
            moment = self.moments[life] if life < len(self.moments) else draw_moment(dice, life, self.open_s)
            self._live_until(folder, life, moment)
            early = self._peek(folder, life + 1)
            if not early.is_sound:
                self.verdict = early
                break
        else:
            self._live_to_the_end(folder)
            self.verdict = self._judge(folder)
        self.seconds = time.monotonic() - began
        return self.verdict

    def _start(self, folder: Path, life: int, *more: str) -> Victim:
        arguments = ["-m", "tests.crash.crash_server", str(folder), "--life", str(life), "--seed", str(self.seed)]
        arguments += ["--sabotage", self.sabotage] if self.sabotage else []
        return Victim([*arguments, "--engine", self.engine, *more], folder / OUTPUT)

    def _live_until(self, folder: Path, life: int, moment: Moment) -> None:
        began = time.monotonic()
        victim = self._start(folder, life, "--point", moment.point, "--times", str(moment.times))
        try:
            if moment.after == "birth":
                time.sleep(moment.delay_s)
            else:
                self._wait_for(self.loaded_when, folder, victim, life)
                self._sleep(victim, self.open_s + 1 if moment.point else moment.delay_s)
            victim.kill()
            gone_s = victim.wait_until_gone(GONE_WITHIN_S)
        finally:
            victim.close()
        self.survivors += gone_s is None
        accepted = len(_lines(folder, life, "accepted"))
        self.lives.append(Life(str(moment), time.monotonic() - began, gone_s, accepted))

    def _wait_for(self, event: str, folder: Path, victim: Victim, life: int) -> None:
        deadline = time.monotonic() + 60
        while victim.is_alive() and not _lines(folder, life, event) and time.monotonic() < deadline:
            time.sleep(0.02)

    def _sleep(self, victim: Victim, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while victim.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _live_to_the_end(self, folder: Path) -> None:
        began = time.monotonic()
        victim = self._start(folder, self.kills, "--last")
        try:
            status = self._wait_for_end(folder, victim)
            gone_s = victim.wait_until_gone(GONE_WITHIN_S) if status is not None else 0.0
        finally:
            victim.close()
        self.survivors += gone_s is None
        accepted = len(_lines(folder, self.kills, "accepted"))
        self.lives.append(Life(f"its own end, exit {status}", time.monotonic() - began, gone_s, accepted))

    def _wait_for_end(self, folder: Path, victim: Victim) -> int | None:
        """Its exit status; None: nothing happens any more."""
        size, changed_at = -1, time.monotonic()
        while victim.is_alive():
            time.sleep(0.05)
            now = sum(path.stat().st_size for path in folder.iterdir())
            if now != size:
                size, changed_at = now, time.monotonic()
            elif time.monotonic() - changed_at > self.silence_s:
                return None
        return victim.wait(1)

    def _peek(self, folder: Path, kills: int) -> Verdict:
        """Look at a copy: opening the files themselves would do the next life's recovery for it."""
        with tempfile.TemporaryDirectory(prefix="easel-crash-") as place:
            copy = Path(place) / "copy"
            shutil.copytree(folder, copy)
            return check(copy, kills=kills, is_over=False) if has_database(copy) else _without_database(copy)

    def _judge(self, folder: Path) -> Verdict:
        verdict = check(folder, kills=self.kills)
        if not _lines(folder, self.kills, "quiet"):
            verdict.faults["unfinished"].append(f"the last life did not come to rest: {self.lives[-1].moment}")
        if self.survivors:
            verdict.faults["survivors"].append(f"children outlived {self.survivors} servers")
        return verdict


def _without_database(folder: Path) -> Verdict:
    verdict = Verdict()
    if any(line["event"] == "accepted" for line in records.read(folder / records.EVENTS)):
        verdict.faults["lost"].append("jobs were accepted and there is no database")
    return verdict


def _lines(folder: Path, life: int, event: str) -> list[dict[str, object]]:
    lines = records.read(folder / records.EVENTS)
    return [line for line in lines if line["event"] == event and line.get("life") == life]
