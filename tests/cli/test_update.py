"""`update`: complete or rolled back, even if it is killed in between. A small project stands in for Easel."""

import json
import os
import shutil
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
from adapters.cli.update import UpdateCommands, Updater
from bot.errors import StartupError
from bot.runtime.lock import DataLock
from bot.runtime.update_journal import FILE_NAME, read_journal
from composition.settings import ROOT

pytestmark = pytest.mark.process

INSTALL = "import pathlib; pathlib.Path('installed').write_text(pathlib.Path('pyproject.toml').read_text())\n"
UPGRADE = """\
import os, sqlite3, sys
connection = sqlite3.connect(os.path.join(os.environ["EASEL_DATA_DIR"], "easel.db"))
connection.execute("insert into rows values ('upgraded')")
connection.commit()
"""
FAIL = "import sys; sys.exit('the moon is in the way')\n"
COMMANDS = UpdateCommands(
    install=(sys.executable, "install.py"),
    upgrade=(sys.executable, "upgrade.py"),
    smoke=(sys.executable, "smoke.py"),
)


def git(folder, *arguments):
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    names = {f"GIT_{who}_{what}": "x@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environ | names, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def head_of(folder):
    """The commit that is checked out, without starting git."""
    reference = (folder / ".git" / "HEAD").read_text().strip().removeprefix("ref: ")
    path = folder / ".git" / reference
    return path.read_text().strip() if path.exists() else git(folder, "rev-parse", "HEAD")


class Project:
    """A small project, its clone and a data directory; `reports` are the updater's lines."""

    def __init__(self, folder: Path) -> None:
        self.upstream, self.clone, self.data_dir = folder / "upstream", folder / "clone", folder / "data"
        self.database = self.data_dir / "easel.db"
        self.reports: list[str] = []

    def create(self):
        self.upstream.mkdir()
        self.data_dir.mkdir(mode=0o700)
        git(self.upstream, "init", "-q", "-b", "main")
        self.publish("first", {"pyproject.toml": "1", "install.py": INSTALL, "upgrade.py": UPGRADE, "smoke.py": ""})
        git(self.upstream.parent, "clone", "-q", str(self.upstream), str(self.clone))
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
        return Updater(self.clone, self.data_dir, self.database, self.reports.append, COMMANDS, environ)

    @property
    def commit(self):
        return head_of(self.clone)

    @property
    def rows(self):
        with closing(sqlite3.connect(self.database)) as connection:
            return [word for (word,) in connection.execute("select word from rows")]

    def state(self):
        installed = self.clone / "installed"
        return self.commit, self.rows, installed.read_text() if installed.exists() else ""


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """Created once, because git is slow to start: each test gets a copy."""
    folder = tmp_path_factory.mktemp("template")
    Project(folder).create()
    git(folder / "clone", "remote", "set-url", "origin", "../upstream")
    return folder


@pytest.fixture
def project(tmp_path, template):
    folder = tmp_path / "project"
    shutil.copytree(template, folder, symlinks=True)
    return Project(folder)


def test_an_update_includes_packages_and_database(project):
    project.publish("second", {"pyproject.toml": "2"})
    update = project.updater().run_update()

    assert update.subjects == ("second",)
    assert project.state() == (head_of(project.upstream), ["kept", "upgraded"], "2")
    assert read_journal(project.data_dir) is None
    with closing(sqlite3.connect(next((project.data_dir / "backups").glob("before-update-*.db")))) as copy:
        assert copy.execute("select word from rows").fetchall() == [("kept",)]


def test_packages_are_not_installed_if_nothing_about_them_changed(project):
    project.publish("second", {"other.py": ""})
    project.updater().run_update()

    assert not (project.clone / "installed").exists()


def test_without_new_commits_nothing_happens(project):
    before = project.state()
    assert project.updater().run_update().subjects == ()

    assert project.state() == before
    assert not (project.data_dir / "backups").exists()


def test_a_check_changes_nothing(project):
    project.publish("second", {"pyproject.toml": "2"})
    before = project.state()

    assert project.updater().check_for_update().subjects == ("second",)
    assert project.state() == before


@pytest.mark.parametrize("broken", ["install.py", "upgrade.py", "smoke.py"])
def test_a_failed_step_is_rolled_back_completely(project, broken):
    (project.clone / "installed").write_text("1")
    git(project.clone, "status")
    before = project.commit, project.rows
    project.publish("second", {"pyproject.toml": "2", broken: UPGRADE * (broken == "upgrade.py") + FAIL})
    with pytest.raises(Failure) as failed:
        project.updater().run_update()

    assert "the moon is in the way" in failed.value.sentence
    assert "It was rolled back completely." in failed.value.sentence
    assert (project.commit, project.rows) == before
    assert (project.clone / "installed").read_text() == "1"
    assert read_journal(project.data_dir) is None


def test_a_killed_update_is_rolled_back_by_the_next_one(project):
    project.publish(
        "second", {"pyproject.toml": "2", "upgrade.py": UPGRADE, "smoke.py": "import time; time.sleep(60)\n"}
    )
    before = project.commit, project.rows
    program = (
        "import sys; from pathlib import Path as P; from tests.cli.test_update import COMMANDS, Updater;"
        "Updater(P(sys.argv[1]), P(sys.argv[2]), P(sys.argv[3]), print, COMMANDS).run_update()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, (project.clone, project.data_dir, project.database))],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 20
    while not (journal := read_journal(project.data_dir)) or journal.step != "smoke":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert project.rows == ["kept", "upgraded"]
    with pytest.raises(StartupError, match="update"), DataLock(project.data_dir):
        pass

    project.publish("third", {"smoke.py": ""})
    project.updater().run_update()

    assert "An earlier update was interrupted and has been rolled back." in project.reports
    assert project.rows == [*before[1], "upgraded"]
    assert project.commit == head_of(project.upstream)


def test_a_running_server_is_not_disturbed(project):
    project.publish("second", {"pyproject.toml": "2"})
    with DataLock(project.data_dir), pytest.raises(Failure, match=r"stop it first.*systemctl stop easel"):
        project.updater().run_update()

    assert not (project.data_dir / FILE_NAME).exists()


def test_changed_files_are_not_overwritten(project):
    (project.clone / "pyproject.toml").write_text("mine")
    with pytest.raises(Failure, match=r"The clone .* has local changes"):
        project.updater().run_update()

    assert (project.clone / "pyproject.toml").read_text() == "mine"


def test_untracked_files_do_not_prevent_an_update(project):
    (project.clone / "notes.txt").write_text("mine")
    project.publish("second", {"other.py": ""})
    project.updater().run_update()

    assert (project.clone / "notes.txt").read_text() == "mine"


def test_own_commits_are_not_lost(project):
    (project.clone / "own.py").write_text("")
    git(project.clone, "add", "-A")
    git(project.clone, "commit", "-q", "-m", "own")
    with pytest.raises(Failure, match="has commits that origin/main does not have"):
        project.updater().run_update()


def test_a_branch_without_upstream_is_reported(project):
    git(project.clone, "switch", "-q", "-c", "own")
    with pytest.raises(Failure, match="has no upstream branch"):
        project.updater().run_update()


def test_a_copy_without_git_is_reported(project, tmp_path, monkeypatch):
    with pytest.raises(Failure, match="is not a git clone"):
        Updater(tmp_path, project.data_dir, project.database, print, COMMANDS).check_for_update()
    monkeypatch.setattr(update.shutil, "which", lambda name: None)
    with pytest.raises(Failure, match="git, which is not installed"):
        project.updater().check_for_update()


def test_an_unreachable_upstream_is_reported(project):
    git(project.clone, "remote", "set-url", "origin", "/no/such/place")
    with pytest.raises(Failure, match="`git fetch` failed"):
        project.updater().check_for_update()


def test_the_last_five_backups_are_kept(project):
    folder = project.data_dir / "backups"
    folder.mkdir()
    for day in range(10, 18):
        (folder / f"before-update-202601{day}-000000-aaaaaaaa.db").touch()
    (folder / "mine.db").touch()
    project.publish("second", {"other.py": ""})
    project.updater().run_update()

    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == update.KEPT_BACKUPS + 1
    assert "mine.db" in names
    assert names[0].startswith("before-update-20260114")


def test_commands_get_no_tokens_and_may_use_the_lock(project):
    show = "import json, os, pathlib; pathlib.Path('seen.json').write_text(json.dumps(dict(os.environ)))\n"
    project.publish("second", {"smoke.py": show})
    secret = {"DISCORD_TOKEN": "t", "HF_TOKEN_FILE": "t", "TELEGRAM_TOKEN": "t", "GIT_DIR": "/nowhere"}
    project.updater({**os.environ, **secret}).run_update()

    seen = json.loads((project.clone / "seen.json").read_text())
    assert set(secret) & set(seen) == set()
    assert seen["EASEL_LOCK_LENT_BY"] == str(os.getpid())
    assert seen["EASEL_DATA_DIR"] == str(project.data_dir)


def test_without_a_database_there_is_none_after_a_failure(project):
    project.database.unlink()
    upgrade = "import os, sqlite3\nsqlite3.connect(os.path.join(os.environ['EASEL_DATA_DIR'], 'easel.db'))\n"
    project.publish("second", {"upgrade.py": upgrade, "smoke.py": FAIL})
    with pytest.raises(Failure):
        project.updater().run_update()

    assert not project.database.exists()


@pytest.mark.slow
def test_easel_itself_is_updated_with_its_own_commands(tmp_path, upgraded):
    """A clone of this code, one commit behind."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if files.returncode:
        pytest.skip("this is not a git clone")
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

    assert "1 new commit, " in easel("update", "--check").stdout
    done = easel("update")
    assert done.returncode == 0, done.stderr
    assert "restart the server" in done.stdout
    assert (clone / "news.txt").exists()
    assert "up to date" in easel("update").stdout
