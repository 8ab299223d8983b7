"""`easel update`: updates the clone to the latest version, and rolls back completely if any step fails."""

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
from adapters.cli.output import program_name
from bot.runtime.durable_files import fsync_path, remove_sidecars, replace_database
from bot.runtime.lock import DataLock, read_holder
from bot.runtime.private_files import create_private_file, make_private_folder
from bot.runtime.update_journal import DELEGATED_BY, UpdateJournal, read_journal, remove_journal, write_journal
from bot.settings import SECRETS
from bot.settings.places import DATA_DIR

BACKUPS = "backups"
KEPT_BACKUPS = 5
"""Number of backups from earlier updates to keep."""
PACKAGES = ("pyproject.toml", "constraints.txt", "scripts/install.py")
"""A change of one of these files requires installing packages again."""
_MAX_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class UpdateCommands:
    """Commands that run in the clone, with the new code. Each is a program with its arguments."""

    install: Sequence[str] = (sys.executable, "scripts/install.py")
    upgrade: Sequence[str] = (sys.executable, "main.py", "db", "upgrade")
    smoke: Sequence[str] = (sys.executable, "main.py", "db", "check")


@dataclass(frozen=True, kw_only=True)
class AvailableUpdate:
    """The commits between the current and the latest version. `subjects`: newest first."""

    old: str
    new: str
    subjects: tuple[str, ...]


class StepFailed(Exception):
    """`output`: the last lines that the program wrote."""

    def __init__(self, output: str) -> None:
        super().__init__(output)
        self.output = output


class Updater:
    """Updates a clone. `database`: the SQLite file, which may not exist. `report` receives one line at a time."""

    def __init__(
        self,
        root: Path,
        data_dir: Path,
        database: Path,
        report: Callable[[str], None],
        commands: UpdateCommands | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.root, self.data_dir, self.database, self.report = root, data_dir, database, report
        self.commands = commands or UpdateCommands()
        self._environ = _child_environment(os.environ if environ is None else environ) | {DATA_DIR: str(data_dir)}
        self._handles: tuple[int, ...] = ()

    # ------------------------------------------------------------ check

    def check_for_update(self) -> AvailableUpdate:
        """Fetch from the upstream repository. Raises: Failure if this clone cannot be updated."""
        if shutil.which("git") is None:
            raise Failure("Updates need git, which is not installed: install git, then run this again.")
        if not (self.root / ".git").exists():
            raise Failure(f"{self.root} is not a git clone: update this copy the way it was installed.")
        if self._git("status", "--porcelain", "--untracked-files=no"):
            raise Failure(
                f"The clone {self.root} has local changes: `git status` shows them, `git stash` sets them aside. "
                f"Settings belong in {self.data_dir / 'config.toml'}. Then run this again."
            )
        try:
            branch = self._git("rev-parse", "--abbrev-ref", "@{upstream}")
        except StepFailed as error:
            raise Failure(
                "This branch has no upstream branch to update from: set it with "
                "`git branch --set-upstream-to origin/main`, or use `git switch main`."
            ) from error
        try:
            self._git("fetch", "--quiet")
        except StepFailed as error:
            raise Failure(f"`git fetch` failed: {error.output}") from error
        if self._git("rev-list", "--count", "@{upstream}..HEAD") != "0":
            raise Failure(f"This clone has commits that {branch} does not have: run `git rebase`, then run this again.")
        subjects = self._git("log", "--format=%s", "HEAD..@{upstream}").splitlines()
        old, new = self._git("rev-parse", "HEAD", "@{upstream}").splitlines()
        return AvailableUpdate(old=old, new=new, subjects=tuple(subjects))

    # ------------------------------------------------------------ update

    def run_update(self) -> AvailableUpdate:
        """Update to the latest version.

        Raises:
            Failure: the update was rolled back, unless the sentence says otherwise.
            StartupError: another process holds the lock.
        """
        holder = read_holder(self.data_dir)
        if holder is not None:
            raise Failure(
                f"A server is running (process {holder.pid}): stop it first (systemd: `sudo systemctl stop easel`), "
                "then run this again."
            )
        with DataLock(self.data_dir, for_update=True) as lock:
            self._environ[DELEGATED_BY] = str(os.getpid())
            self._handles = (lock.handle,) if lock.handle is not None and os.name == "posix" else ()
            self._finish_rollback()
            update = self.check_for_update()
            if update.subjects:
                self._apply(update)
            return update

    def _finish_rollback(self) -> None:
        journal = read_journal(self.data_dir)
        if journal is not None:
            self._roll_back(journal)
            self.report("An earlier update was interrupted and has been rolled back.")

    def _apply(self, update: AvailableUpdate) -> None:
        changed = self._git("diff", "--name-only", update.old, update.new, "--", *PACKAGES)
        self.report("Backing up the database.")
        journal = UpdateJournal(
            root=str(self.root),
            old=update.old,
            new=update.new,
            step="pull",
            reinstall=bool(changed),
            database=str(self.database),
            backup=self._back_up_database(update.old),
        )
        write_journal(self.data_dir, journal)
        steps: list[tuple[str, str, Sequence[str]]] = [
            ("pull", "Updating the code.", ("git", "merge", "--quiet", "--ff-only", update.new))
        ]
        if changed:
            steps.append(("install", "Installing packages; this may take minutes.", tuple(self.commands.install)))
        steps.append(("upgrade", "Upgrading the database.", tuple(self.commands.upgrade)))
        steps.append(("smoke", "Checking the new version.", tuple(self.commands.smoke)))
        for step, sentence, command in steps:
            self.report(sentence)
            journal = replace(journal, step=step)
            write_journal(self.data_dir, journal)
            try:
                self._run(command)
            except StepFailed as error:
                self._roll_back(journal)
                raise Failure(
                    f"The update failed at this step: {sentence} {error.output} It was rolled back completely.",
                    code="update_failed",
                ) from error
            except KeyboardInterrupt:
                self._roll_back(journal)
                self.report("Interrupted. The update was rolled back completely.")
                raise
        remove_journal(self.data_dir)

    def _roll_back(self, journal: UpdateJournal) -> None:
        """Raises: Failure; the journal is kept, so the next `update` tries again."""
        self.report("Rolling back.")
        try:
            self._git("reset", "--quiet", "--hard", journal.old)  # the tree was clean
            if journal.reinstall and journal.has_reached("install"):
                self._run(tuple(self.commands.install))
            if journal.has_reached("upgrade"):
                _restore_database(journal)
        except (StepFailed, OSError) as error:
            raise Failure(
                f"The rollback also failed: {error} The previous version is commit {journal.old}; the previous "
                f"database: {journal.backup or 'none'}. `{program_name()} update` tries again.",
                code="update_failed",
            ) from error
        remove_journal(self.data_dir)

    def _back_up_database(self, commit: str) -> str:
        """Back up the database and delete old backups; returns the path, empty without a database."""
        if not self.database.exists():
            return ""
        folder = self.data_dir / BACKUPS
        make_private_folder(folder)
        copy = folder / time.strftime(f"before-update-%Y%m%d-%H%M%S-{commit[:8]}.db")
        create_private_file(copy)
        with closing(sqlite3.connect(self.database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        fsync_path(copy)
        for old in sorted(folder.glob("before-update-*.db"))[:-KEPT_BACKUPS]:
            old.unlink()
        return str(copy)

    # ------------------------------------------------------------ programs

    def _git(self, *words: str) -> str:
        return self._run(("git", *words))

    def _run(self, command: Sequence[str]) -> str:
        """Run a command and return its stdout. Raises: StepFailed."""
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
            raise StepFailed(" ".join(line.strip() for line in lines)[-600:] or f"Exit code {done.returncode}.")
        return done.stdout.strip()


def _restore_database(journal: UpdateJournal) -> None:
    database = Path(journal.database)
    if not journal.backup:
        remove_sidecars(database)
        database.unlink(missing_ok=True)
        return
    partial = database.with_name(f"{database.name}.partial")
    partial.unlink(missing_ok=True)
    create_private_file(partial)
    shutil.copyfile(journal.backup, partial)
    replace_database(database, partial)


def _child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Remove tokens and GIT_ variables, and keep git from prompting."""
    secret = {one for variable, (_, alias) in SECRETS.items() for one in (variable, alias)}
    secret |= {f"{name}_FILE" for name in secret}
    kept = {name: value for name, value in environ.items() if name not in secret and not name.startswith("GIT_")}
    return kept | {"GIT_TERMINAL_PROMPT": "0"}


def format_commits(update: AvailableUpdate) -> list[str]:
    """The commits, one line each."""
    more = len(update.subjects) - _MAX_LISTED
    return [f"  {subject}" for subject in update.subjects[:_MAX_LISTED]] + ([f"  and {more} more"] if more > 0 else [])
