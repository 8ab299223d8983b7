"""`update`: fetches a newer Easel into its clone and, when any step of it fails, puts everything back as it was."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.cli.error_output import Failure
from adapters.cli.output import program
from bot.runtime.durable_files import remove_beside, replace_database, sync
from bot.runtime.lock import DataLock, read_holder
from bot.runtime.update_journal import LENT_BY, Journal, read_journal, remove_journal, write_journal
from bot.settings import SECRETS
from bot.settings.places import DATA_DIR

BACKUPS = "backups"
KEPT = 5
"""Backups of earlier updates that stay."""
PACKAGES = ("pyproject.toml", "constraints.txt", "scripts/install.py")
"""What changes the packages when it changes."""
_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Commands:
    """What is run in the clone, by the new code. Each is a program with its arguments."""

    install: Sequence[str] = (sys.executable, "scripts/install.py")
    upgrade: Sequence[str] = (sys.executable, "main.py", "db", "upgrade")
    smoke: Sequence[str] = (sys.executable, "main.py", "db", "check")


@dataclass(frozen=True, kw_only=True)
class News:
    """What there is to fetch. `subjects`: of the commits, newest first."""

    old: str
    new: str
    subjects: tuple[str, ...]


class StepFailed(Exception):
    """`said`: the end of what the program wrote."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


class Updater:
    """`database`: the SQLite file, there or not. `tell` takes one line at a time."""

    def __init__(
        self,
        root: Path,
        data_dir: Path,
        database: Path,
        tell: Callable[[str], None],
        commands: Commands | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.root, self.data_dir, self.database, self.tell = root, data_dir, database, tell
        self.commands = commands or Commands()
        self._environ = _clean(os.environ if environ is None else environ) | {DATA_DIR: str(data_dir)}
        self._handles: tuple[int, ...] = ()

    # ------------------------------------------------------------ looking

    def look(self) -> News:
        """Ask where the clone came from. Raises: Failure, when this clone cannot be updated."""
        if shutil.which("git") is None:
            raise Failure("git is not installed, and updates come through it: install git, then run this again.")
        if not (self.root / ".git").exists():
            raise Failure(f"{self.root} is no git clone: updates come the way that this copy came.")
        if self._git("status", "--porcelain", "--untracked-files=no"):
            raise Failure(
                f"Files of the clone {self.root} were changed: `git status` shows them. Settings belong into "
                f"{self.data_dir / 'config.toml'}; `git stash` puts the changes aside. Then run this again."
            )
        try:
            branch = self._git("rev-parse", "--abbrev-ref", "@{upstream}")
        except StepFailed as error:
            raise Failure(
                "This branch follows no other one, so that nobody knows where new versions come from: "
                "`git branch --set-upstream-to origin/main` says it, or `git switch main` goes to one that does."
            ) from error
        try:
            self._git("fetch", "--quiet")
        except StepFailed as error:
            raise Failure(f"What is new could not be fetched: {error.said}") from error
        if self._git("rev-list", "--count", "@{upstream}..HEAD") != "0":
            raise Failure(
                f"This clone has commits that {branch} has not: `git rebase` joins them. Then run this again."
            )
        subjects = self._git("log", "--format=%s", "HEAD..@{upstream}").splitlines()
        old, new = self._git("rev-parse", "HEAD"), self._git("rev-parse", "@{upstream}")
        return News(old=old, new=new, subjects=tuple(subjects))

    # ------------------------------------------------------------ doing

    def run(self) -> News:
        """Raises: Failure: everything is as before, unless it says otherwise. StartupError: somebody holds the lock."""
        holder = read_holder(self.data_dir)
        if holder is not None:
            raise Failure(
                f"A server runs (process {holder.pid}): stop it first, with systemd by `sudo systemctl stop easel`; "
                "then run this again."
            )
        with DataLock(self.data_dir, for_update=True) as lock:
            self._environ[LENT_BY] = str(os.getpid())
            self._handles = (lock.handle,) if lock.handle is not None and os.name == "posix" else ()
            self._mend()
            news = self.look()
            if news.subjects:
                self._take(news)
            return news

    def _mend(self) -> None:
        journal = read_journal(self.data_dir)
        if journal is not None:
            self._undo(journal)
            self.tell("An earlier update was cut short: everything is back as it was before it.")

    def _take(self, news: News) -> None:
        changed = self._git("diff", "--name-only", news.old, news.new, "--", *PACKAGES)
        self.tell("Backing up the database.")
        journal = Journal(
            root=str(self.root),
            old=news.old,
            new=news.new,
            step="pull",
            reinstall=bool(changed),
            database=str(self.database),
            backup=self._back_up(news.old),
        )
        write_journal(self.data_dir, journal)
        steps: list[tuple[str, str, Sequence[str]]] = [
            ("pull", "Taking the new version.", ("git", "merge", "--quiet", "--ff-only", news.new))
        ]
        if changed:
            steps.append(("install", "Installing packages; this may take minutes.", tuple(self.commands.install)))
        steps.append(("upgrade", "Upgrading the database.", tuple(self.commands.upgrade)))
        steps.append(("smoke", "Looking whether it works.", tuple(self.commands.smoke)))
        for step, sentence, command in steps:
            self.tell(sentence)
            journal = replace(journal, step=step)
            write_journal(self.data_dir, journal)
            try:
                self._run(command)
            except StepFailed as error:
                self._undo(journal)
                raise Failure(
                    f"The update failed at this step: {sentence} {error.said} Everything is as it was before.",
                    code="update_failed",
                ) from error
            except KeyboardInterrupt:
                self._undo(journal)
                self.tell("Stopped. Everything is as it was before.")
                raise
        remove_journal(self.data_dir)

    def _undo(self, journal: Journal) -> None:
        """Raises: Failure, with the journal kept, so that the next `update` tries again."""
        self.tell("Putting everything back as it was.")
        try:
            self._git("reset", "--quiet", "--hard", journal.old)  # the tree was clean
            if journal.reinstall and journal.has_reached("install"):
                self._run(tuple(self.commands.install))
            if journal.has_reached("upgrade"):
                _put_back(journal)
        except (StepFailed, OSError) as error:
            raise Failure(
                f"Putting everything back failed, too: {error} The old version is commit {journal.old}, the database "
                f"of before is {journal.backup or 'not there'}. `{program()} update` tries it again.",
                code="update_failed",
            ) from error
        remove_journal(self.data_dir)

    def _back_up(self, commit: str) -> str:
        """The copy; empty without a database. Old ones go."""
        if not self.database.exists():
            return ""
        folder = self.data_dir / BACKUPS
        folder.mkdir(mode=0o700, exist_ok=True)
        copy = folder / time.strftime(f"before-update-%Y%m%d-%H%M%S-{commit[:8]}.db")
        with closing(sqlite3.connect(self.database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        sync(copy)
        for old in sorted(folder.glob("before-update-*.db"))[:-KEPT]:
            old.unlink()
        return str(copy)

    # ------------------------------------------------------------ programs

    def _git(self, *words: str) -> str:
        return self._run(("git", *words))

    def _run(self, command: Sequence[str]) -> str:
        """What it wrote to stdout. Raises: StepFailed."""
        try:
            done = subprocess.run(
                command,
                cwd=self.root,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                pass_fds=self._handles,
            )
        except OSError as error:
            raise StepFailed(f"{command[0]} could not be started: {error.strerror}.") from error
        if done.returncode:
            lines = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
            raise StepFailed(" ".join(line.strip() for line in lines)[-600:] or f"It ended with {done.returncode}.")
        return done.stdout.strip()


def _put_back(journal: Journal) -> None:
    database = Path(journal.database)
    if not journal.backup:
        remove_beside(database)
        database.unlink(missing_ok=True)
        return
    partial = database.with_name(f"{database.name}.partial")
    shutil.copyfile(journal.backup, partial)
    partial.chmod(database.stat().st_mode & 0o777 if database.exists() else 0o600)
    replace_database(database, partial)


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    """Without tokens, and without what would lead git elsewhere or make it ask."""
    secret = {one for variable, (_, alias) in SECRETS.items() for one in (variable, alias)}
    secret |= {f"{name}_FILE" for name in secret}
    kept = {name: value for name, value in environ.items() if name not in secret and not name.startswith("GIT_")}
    return kept | {"GIT_TERMINAL_PROMPT": "0"}


def shown(news: News) -> list[str]:
    """The commits, a line each."""
    more = len(news.subjects) - _SHOWN
    return [f"  {subject}" for subject in news.subjects[:_SHOWN]] + ([f"  and {more} more"] if more > 0 else [])
