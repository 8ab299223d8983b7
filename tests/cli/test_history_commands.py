"""`history`, `show`, `cancel` and `export`, in this process and through a running server."""

import json
import zipfile
from contextlib import nullcontext

import httpx
import pytest

from bot.runtime.lock import read_holder
from tests.cli.app_fixture import serving
from tests.cli.test_job_commands import MODES


@MODES
def test_jobs_are_listed_found_shown_and_exported(mode, call, data_dir, folder, fox):
    with serving(data_dir) if mode == "server" else nullcontext():
        circle = json.loads(call("imagine", "a red circle", "--count", "2", "--seed", "7", "--json").out)
        question = json.loads(call("ask", str(fox), "what is this?", "--json").out)

        listed = call("history", "--limit", "1")
        found = call("history", "red", "circle", "--json")
        shown = call("show", circle["id"][:6])
        exported = call("export", "all.zip")
        chosen = call("export", "one.zip", f"{circle['id'][:8]}/2", "--json")

    assert question["id"][:6] in listed.out
    assert "what is this?" in listed.out
    assert f"`easel history --before {question['id'][:6]}`" in listed.err
    assert [job["id"] for job in json.loads(found.out)["jobs"]] == [circle["id"]]
    assert shown.out.startswith(f"{circle['id']}  imagine\n")
    assert "a red circle" in shown.out
    assert (exported.code, exported.out) == (0, "all.zip\n")
    names = [f"easel-{circle['id']}-{n}-a-red-circle.{kind}" for n in (1, 2) for kind in ("png", "json")]
    with zipfile.ZipFile("all.zip") as archive:
        assert archive.namelist() == names
        assert archive.read(names[0]) == (folder / circle["files"][0]).read_bytes()
        assert json.loads(archive.read(names[3]))["seed"] == 8
    assert json.loads(chosen.out) == {"file": "one.zip", "images": 1, "left_out": 0}
    assert not list(folder.glob(".*"))


def test_the_next_page_begins_where_the_last_ended(call, fox):
    ids = [json.loads(call("caption", str(fox), "--json").out)["id"] for _ in range(2)]

    hint = call("history", "--limit", "1", "it", "is").err
    first, second = json.loads(call("history", "--limit", "1", "--json").out), call("history", "--before", ids[1][:6])

    assert first["next"] == ids[1]
    assert hint == f"For more: `easel history --before {ids[1][:6]} it is`.\n"
    assert ids[0][:6] in second.out
    assert ids[1][:6] not in second.out


@MODES
def test_a_search_by_meaning_finds_words_where_no_model_looks_at_pictures(mode, call, data_dir, folder):
    with serving(data_dir) if mode == "server" else nullcontext():
        circle = json.loads(call("imagine", "a red circle", "--json").out)
        found = call("history", "red", "--meaning", "--limit", "1", "--json")
        nothing = call("history", "unheard", "--meaning")
        blank = call("history", "--meaning", "--json")

    assert [job["id"] for job in json.loads(found.out)["jobs"]] == [circle["id"]]
    assert [job["id"] for job in json.loads(blank.out)["jobs"]] == [circle["id"]]
    assert nothing.err == "No job has these words, and no picture shows them.\n"


def test_the_next_page_of_a_search_by_meaning_is_one_too(call):
    for _ in range(2):
        call("imagine", "a red circle", "--json")

    hint = call("history", "--limit", "1", "red", "--meaning").err

    assert " --meaning red`" in hint


def test_a_job_of_another_program_is_cancelled(call, data_dir):
    body = {"command": "imagine", "options": {"prompt": "slow"}}
    with serving(data_dir) as url:
        secret = {"Authorization": f"Bearer {read_holder(data_dir).secret}"}
        job = httpx.post(f"{url.rstrip('/')}/api/v1/jobs", json=body, headers=secret, trust_env=False).json()["id"]
        cancelled = call("cancel", job[:6], "--json")

    ended = json.loads(cancelled.out)
    assert (cancelled.code, ended["id"]) == (0, job)
    assert ended["cancel_requested"]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["history", "nothing"], 0, "No job has these words."),
        (["show", "aaaaaaaa"], 1, "You have no job called aaaaaaaa."),
        (["cancel", "aaaaaaaa"], 1, "You have no job called aaaaaaaa."),
        (["history", "--before", "aaaaaaaa"], 1, "You have no job called aaaaaaaa."),
        *((words, 2, "history` lists your jobs.") for words in (["show", ""], ["cancel", "../keys"], ["fetch", "a/1"])),
        (["history", "--before", " "], 2, '" " is no job id'),
        (["export", "all.zip", "/1"], 2, '"" is no job id'),
        (["export", "all.zip"], 1, "There are no images to export."),
        (["export", "fox.png"], 2, "fox.png is no name of a zip file: name it fox.png.zip, for example."),
        (["export", "old.zip"], 2, "old.zip already exists: choose another name or move it."),
        (["export", "no/all.zip"], 2, "The folder no does not exist: create it first."),
        (["export", "all.zip", "aaaaaaaa/0"], 2, "aaaaaaaa/0 names no image: write aaaaaaaa/1 for the first"),
        (["export", "all.zip", "aaaaaaaa/000000001" + "9" * 5000], 2, "names no image: write aaaaaaaa/1 for the first"),
        (["export", "all.zip", "aaaaaaaa"], 1, "You have no job called aaaaaaaa."),
    ],
)
def test_what_is_not_there_is_one_sentence_and_leaves_no_file(call, folder, words, code, sentence):
    (folder / "old.zip").touch()

    result = call(*words)

    assert (result.code, result.out) == (code, "")
    assert sentence in result.err
    assert [path.name for path in folder.iterdir()] == ["old.zip"]


def test_a_finished_job_cannot_be_cancelled(call, fox):
    job = json.loads(call("caption", str(fox), "--json").out)["id"]

    result = call("cancel", job.upper())

    assert (result.code, result.out) == (1, "")
