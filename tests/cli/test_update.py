"""`update`: forwards whole or not at all, also when it is killed in the middle. A small project stands for Easel."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from adapters.cli import update
from adapters.cli.error_output import Failure
from adapters.cli.update import Commands, Updater
from bot.errors import StartupError
from bot.runtime.lock import DataLock
from bot.runtime.update_journal import FILE_NAME, read_journal
from composition.settings import ROOT

INSTALL = "import pathlib; pathlib.Path('installed').write_text(pathlib.Path('pyproject.toml').read_text())\n"
UPGRADE = """\
import os, sqlite3, sys
connection = sqlite3.connect(os.path.join(os.environ["EASEL_DATA_DIR"], "easel.db"))
connection.execute("insert into rows values ('upgraded')")
connection.commit()
"""
FAIL = "import sys; sys.exit('the moon is in the way')\n"
COMMANDS = Commands(
    install=(sys.executable, "install.py"),
    upgrade=(sys.executable, "upgrade.py"),
    smoke=(sys.executable, "smoke.py"),
)


def git(folder, *words):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    names = {f"GIT_{who}_{what}": "x@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(["git", *words], cwd=folder, env=environ | names, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Town:
    """A project, its clone with a data directory, and what was told."""

    def __init__(self, folder: Path) -> None:
        self.upstream, self.clone, self.data_dir = folder / "upstream", folder / "clone", folder / "data"
        self.told: list[str] = []
        self.upstream.mkdir()
        self.data_dir.mkdir(mode=0o700)
        git(self.upstream, "init", "-q", "-b", "main")
        self.publish("first", {"pyproject.toml": "1", "install.py": INSTALL, "upgrade.py": UPGRADE, "smoke.py": ""})
        git(folder, "clone", "-q", str(self.upstream), str(self.clone))
        self.database = self.data_dir / "easel.db"
        with closing(sqlite3.connect(self.database)) as connection:
            connection.execute("create table rows (word text)")
            connection.execute("insert into rows values ('kept')")
            connection.commit()

    def publish(self, subject, files):
        for name, text in files.items():
            (self.upstream / name).write_text(text)
        git(self.upstream, "add", "-A")
        git(self.upstream, "commit", "-q", "-m", subject)

    def updater(self, environ=None):
        return Updater(self.clone, self.data_dir, self.database, self.told.append, COMMANDS, environ)

    @property
    def commit(self):
        return git(self.clone, "rev-parse", "HEAD")

    @property
    def rows(self):
        with closing(sqlite3.connect(self.database)) as connection:
            return [word for (word,) in connection.execute("select word from rows")]

    def state(self):
        installed = self.clone / "installed"
        return self.commit, self.rows, installed.read_text() if installed.exists() else ""


@pytest.fixture
def town(tmp_path):
    return Town(tmp_path)


def test_a_new_version_is_taken_with_packages_and_database(town):
    town.publish("second", {"pyproject.toml": "2"})
    news = town.updater().run()

    assert news.subjects == ("second",)
    assert town.state() == (git(town.upstream, "rev-parse", "HEAD"), ["kept", "upgraded"], "2")
    assert read_journal(town.data_dir) is None
    with closing(sqlite3.connect(next((town.data_dir / "backups").glob("before-update-*.db")))) as copy:
        assert copy.execute("select word from rows").fetchall() == [("kept",)]


def test_packages_stay_when_nothing_about_them_changed(town):
    town.publish("second", {"other.py": ""})
    town.updater().run()

    assert not (town.clone / "installed").exists()


def test_nothing_new_does_nothing(town):
    before = town.state()
    assert town.updater().run().subjects == ()

    assert town.state() == before
    assert not (town.data_dir / "backups").exists()


def test_looking_changes_nothing(town):
    town.publish("second", {"pyproject.toml": "2"})
    before = town.state()

    assert town.updater().look().subjects == ("second",)
    assert town.state() == before


@pytest.mark.parametrize("broken", ["install.py", "upgrade.py", "smoke.py"])
def test_whichever_step_fails_everything_is_as_before(town, broken):
    (town.clone / "installed").write_text("1")
    git(town.clone, "status")
    before = town.commit, town.rows
    town.publish("second", {"pyproject.toml": "2", broken: UPGRADE * (broken == "upgrade.py") + FAIL})
    with pytest.raises(Failure) as failed:
        town.updater().run()

    assert "the moon is in the way" in failed.value.sentence
    assert "Everything is as it was before." in failed.value.sentence
    assert (town.commit, town.rows) == before
    assert (town.clone / "installed").read_text() == "1"
    assert read_journal(town.data_dir) is None


def test_what_was_killed_in_the_middle_is_put_back_by_the_next_one(town):
    town.publish("second", {"pyproject.toml": "2", "upgrade.py": UPGRADE, "smoke.py": "import time; time.sleep(60)\n"})
    before = town.commit, town.rows
    program = (
        "import sys; from pathlib import Path as P; from tests.cli.test_update import COMMANDS, Updater;"
        "Updater(P(sys.argv[1]), P(sys.argv[2]), P(sys.argv[3]), print, COMMANDS).run()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, (town.clone, town.data_dir, town.database))],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 20
    while not (journal := read_journal(town.data_dir)) or journal.step != "smoke":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert town.rows == ["kept", "upgraded"]
    with pytest.raises(StartupError, match="update"), DataLock(town.data_dir):
        pass

    town.publish("third", {"smoke.py": ""})
    town.updater().run()

    assert "An earlier update was cut short: everything is back as it was before it." in town.told
    assert town.rows == [*before[1], "upgraded"]
    assert town.commit == git(town.upstream, "rev-parse", "HEAD")


def test_a_running_server_is_not_disturbed(town):
    town.publish("second", {"pyproject.toml": "2"})
    with DataLock(town.data_dir), pytest.raises(Failure, match=r"stop it first.*systemctl stop easel"):
        town.updater().run()

    assert not (town.data_dir / FILE_NAME).exists()


def test_changed_files_are_not_overwritten(town):
    (town.clone / "pyproject.toml").write_text("mine")
    with pytest.raises(Failure, match=r"Files of the clone .* were changed"):
        town.updater().run()

    assert (town.clone / "pyproject.toml").read_text() == "mine"


def test_files_that_git_does_not_know_are_no_hindrance(town):
    (town.clone / "notes.txt").write_text("mine")
    town.publish("second", {"other.py": ""})
    town.updater().run()

    assert (town.clone / "notes.txt").read_text() == "mine"


def test_own_commits_are_not_lost(town):
    (town.clone / "own.py").write_text("")
    git(town.clone, "add", "-A")
    git(town.clone, "commit", "-q", "-m", "own")
    with pytest.raises(Failure, match="has commits that origin/main has not"):
        town.updater().run()


def test_a_branch_of_its_own_follows_nothing(town):
    git(town.clone, "switch", "-q", "-c", "own")
    with pytest.raises(Failure, match="follows no other one"):
        town.updater().run()


def test_a_copy_without_git_is_told(town, tmp_path, monkeypatch):
    with pytest.raises(Failure, match="is no git clone"):
        Updater(tmp_path, town.data_dir, town.database, print, COMMANDS).look()
    monkeypatch.setattr(update.shutil, "which", lambda name: None)
    with pytest.raises(Failure, match="git is not installed"):
        town.updater().look()


def test_an_upstream_that_is_away_is_told(town):
    git(town.clone, "remote", "set-url", "origin", "/no/such/place")
    with pytest.raises(Failure, match="could not be fetched"):
        town.updater().look()


def test_the_last_five_backups_stay(town):
    folder = town.data_dir / "backups"
    folder.mkdir()
    for day in range(10, 18):
        (folder / f"before-update-202601{day}-000000-aaaaaaaa.db").touch()
    (folder / "mine.db").touch()
    town.publish("second", {"other.py": ""})
    town.updater().run()

    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == update.KEPT + 1
    assert "mine.db" in names
    assert names[0].startswith("before-update-20260114")


def test_programs_see_no_tokens_and_the_lock_is_lent(town):
    show = "import json, os, pathlib; pathlib.Path('seen.json').write_text(json.dumps(dict(os.environ)))\n"
    town.publish("second", {"smoke.py": show})
    secret = {"DISCORD_TOKEN": "t", "HF_TOKEN_FILE": "t", "TELEGRAM_TOKEN": "t", "GIT_DIR": "/nowhere"}
    town.updater({**os.environ, **secret}).run()

    seen = json.loads((town.clone / "seen.json").read_text())
    assert set(secret) & set(seen) == set()
    assert seen["EASEL_LOCK_LENT_BY"] == str(os.getpid())
    assert seen["EASEL_DATA_DIR"] == str(town.data_dir)


def test_without_a_database_there_is_none_after_a_failure(town):
    town.database.unlink()
    upgrade = "import os, sqlite3\nsqlite3.connect(os.path.join(os.environ['EASEL_DATA_DIR'], 'easel.db'))\n"
    town.publish("second", {"upgrade.py": upgrade, "smoke.py": FAIL})
    with pytest.raises(Failure):
        town.updater().run()

    assert not town.database.exists()


@pytest.mark.slow
def test_easel_itself_is_updated_with_its_own_commands(tmp_path, upgraded):
    """The clone of this very code, one commit behind."""
    import shutil

    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if files.returncode:
        pytest.skip("this is no git clone, so that there is nothing to clone")
    upstream, clone, data_dir = tmp_path / "upstream", tmp_path / "clone", tmp_path / "data"
    for name in filter(None, files.stdout.split("\0")):
        if not name.startswith(("models/", "docs/", "tests/", "training/")) and (ROOT / name).is_file():
            (upstream / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, upstream / name)
    git(upstream, "init", "-q", "-b", "main")
    git(upstream, "add", "-A")
    git(upstream, "commit", "-q", "-m", "first")
    git(tmp_path, "clone", "-q", str(upstream), str(clone))
    (upstream / "news.txt").write_text("new")
    git(upstream, "add", "-A")
    git(upstream, "commit", "-q", "-m", "second")
    shutil.copytree(upgraded, data_dir)
    data_dir.chmod(0o700)

    def easel(*words):
        return subprocess.run(
            [sys.executable, "main.py", *words],
            cwd=clone,
            env={**os.environ, "EASEL_DATA_DIR": str(data_dir), "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )

    assert "1 new commits" in easel("update", "--check").stdout
    done = easel("update")
    assert done.returncode == 0, done.stderr
    assert "start the server again" in done.stdout
    assert (clone / "news.txt").exists()
    assert "up to date" in easel("update").stdout
