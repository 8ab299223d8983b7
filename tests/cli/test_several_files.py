"""Commands for several images: files and folders in one call."""

import asyncio
import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from adapters.cli.error_output import BadInput, Failure
from adapters.cli.file_arguments import InputFile, expand_folders, read_streams, split_arguments
from adapters.cli.file_jobs import FileJobs, FilePrinter
from adapters.cli.image_arguments import image_arguments
from adapters.cli.job_commands import parse_request
from adapters.cli.output import print_json
from adapters.cli.progress import ProgressLine
from bot.commands import COMMANDS
from bot.errors import QueueFull, QuotaExceeded
from bot.settings.core import ImagesSettings
from bot.usecases import JobUseCases
from bot.usecases.media import MediaUseCases
from tests.cli.app_fixture import serving
from tests.web.fake_pool import picture


@pytest.fixture
def photos(folder):
    """A folder of three images, a text, and a file that is no image although its name says so."""
    path = folder / "photos"
    path.mkdir()
    for number, name in enumerate(("a.png", "b.PNG", "c.jpg")):
        (path / name).write_bytes(picture(number, 16, 16, "JPEG" if name.endswith("jpg") else "PNG"))
    (path / "bad.png").write_text("no image")
    (path / "notes.txt").write_text("not even a name")
    (path / ".hidden.png").write_text("a thumbnail")
    return path


def test_one_bad_file_stops_no_other_and_each_has_one_json_line_in_order(call, data_dir, photos, fox):
    with serving(data_dir):
        result = call("caption", str(fox), "photos", "missing.png", "--json")

    lines = [json.loads(line) for line in result.out.splitlines()]
    names = [line["input"] for line in lines]
    assert names == [str(fox), "photos/a.png", "photos/b.PNG", "photos/bad.png", "photos/c.jpg", "missing.png"]
    assert [line["result"] and line["result"]["text"] for line in lines] == [
        "It is a picture", "It is a picture", "It is a picture", None, "It is a picture", None,
    ]  # fmt: skip
    assert [line["error"] and line["error"]["code"] for line in lines[3:]] == [
        "unsupported_media", None, "invalid_option",
    ]  # fmt: skip
    assert result.code == 1
    assert "easel: photos/bad.png: This file is not a picture." in result.err
    assert "easel: missing.png does not exist." in result.err


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["ask", "a.png", "c.jpg", "what is this?"], ["a.png: It is what is this?", "c.jpg: It is what is this?"]),
        (["describe", "a.png", "c.jpg", "--count", "1"], ["a.png: prompt 1", "c.jpg: prompt 1"]),
        (
            ["match", "a.png", "c.jpg", "a cat", "a dog"],
            ["a.png: 50 % a cat", "a.png: 50 % a dog", "c.jpg: 50 % a cat", "c.jpg: 50 % a dog"],
        ),
        (["upscale", "a.png", "c.jpg", "a star", "--out", "big.png"], ["big-1.png", "big-2.png"]),
    ],
)
def test_every_command_for_an_image_takes_several(call, photos, monkeypatch, words, lines):
    monkeypatch.chdir(photos)

    result = call(*words)

    assert (result.code, result.out.splitlines()) == (0, lines)


def test_more_files_than_one_person_may_have_in_the_queue_wait_for_each_other(call, photos, monkeypatch):
    submit = JobUseCases.submit
    refused: list[bool] = []

    async def submit_or_refuse(self, *args, **more):
        if len(refused) == 0 and (await self.list_tickets(args[0]))[0]:
            refused.append(True)
            raise QueueFull(limit=50, retry_after_s=1)
        return await submit(self, *args, **more)

    monkeypatch.setattr(JobUseCases, "submit", submit_or_refuse)
    (photos / "bad.png").unlink()

    result = call("caption", "photos")

    assert (result.code, len(result.out.splitlines()), refused) == (0, 3, [True])


@pytest.mark.parametrize("as_json", [False, True])
def test_the_quota_that_ends_between_two_files_is_said_once_and_the_rest_is_not_uploaded(
    call, photos, monkeypatch, as_json
):
    submit, store = JobUseCases.submit, MediaUseCases.upload
    tried: list[object] = []
    spent = QuotaExceeded(limit=600, left=1, cost=2, resets_at=datetime(2026, 1, 2, tzinfo=UTC), retry_after_s=60)

    async def submit_or_refuse(self, *args, **more):
        if len(tried) > 1:
            raise spent
        return await submit(self, *args, **more)

    async def count_upload(self, *args, **more):
        tried.append(args)
        return await store(self, *args, **more)

    monkeypatch.setattr(JobUseCases, "submit", submit_or_refuse)
    monkeypatch.setattr(MediaUseCases, "upload", count_upload)
    (photos / "bad.png").unlink()
    (photos / "d.png").write_bytes((photos / "a.png").read_bytes())

    result = call("caption", "photos", *(["--json"] if as_json else []))

    errors = [line for line in result.err.splitlines() if line.startswith("easel: ")]
    assert (result.code, len(tried)) == (1, 2)
    assert len(result.out.splitlines()) == (4 if as_json else 1)
    assert errors == [
        "easel: photos/b.PNG: Today's allowance of 600 device-seconds does not cover this (2 needed, 1 left). "
        "It resets at 00:00 UTC.",
        "easel: 2 more files were not tried.",
    ]


@pytest.mark.parametrize(
    ("words", "images", "texts"),
    [
        (["caption", "a.png", "b.png"], ["a.png", "b.png"], []),
        (["ask", "a.png", "-", "what is it?"], ["a.png", "-"], ["what is it?"]),
        (["match", "a", "missing.jpg", "a cat", "b.png"], ["a", "missing.jpg"], ["a cat", "b.png"]),
        (["upscale", "a.png", "b.png"], ["a.png", "b.png"], []),
        (["upscale", "a.png", "photos", "a fox"], ["a.png", "photos"], ["a fox"]),
        (["upscale", "a.png", "no-folder/"], ["a.png", "no-folder/"], []),
    ],
)
def test_images_come_first_and_the_text_last(photos, words, images, texts):
    assert split_arguments(COMMANDS[words[0]], words[1:]) == (images, texts)


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["ask", "a.png"], "QUESTION"),
        (["ask", "a.png", "b.png"], "QUESTION"),
        (["ask", "a.png", "no-folder/"], "QUESTION"),
        (["match", "a.png", "-"], "TEXTS..."),
    ],
)
def test_a_missing_text_is_named(words, missing):
    with pytest.raises(BadInput, match=rf"^{missing} is missing\. See `.* {words[0]} --help`\.$"):
        split_arguments(COMMANDS[words[0]], words[1:])


def test_texts_that_are_also_folders_are_named(photos):
    with pytest.raises(BadInput, match=r'^photos is also a file or folder here: .*, as in "photos \| \.\.\."\.$'):
        split_arguments(COMMANDS["match"], ["a.png", "photos"])


def test_standard_input_is_one_of_the_images(call, fox, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(fox.read_bytes())))

    result = call("caption", "-", str(fox), "-")

    assert (result.code, result.out) == (1, f"-: It is a picture\n{fox}: It is a picture\n")
    assert "easel: standard input: The file is empty." in result.err


def test_the_files_of_a_folder_are_known_by_every_ending_that_programs_write(folder):
    names = ["a.jfif", "b.HEIC", "c.avif", "d.jpe", "e.apng", "f.webp"]
    for name in (*names, "g.txt", "h.mp4"):
        (folder / name).touch()

    assert [Path(file.name).name for file in expand_folders([str(folder)])] == names


def test_a_folder_without_images_is_one_sentence(folder, call, fox):
    (folder / "empty").mkdir()

    assert [str(one.error) for one in expand_folders(["empty"])] == ["empty has no images."]
    assert call("caption", str(fox), "empty").code == 1


@pytest.mark.parametrize("files", [["empty"], ["missing.png"], ["missing.png", "empty", "gone.png"]])
def test_without_any_file_that_could_be_tried_the_usage_is_bad(folder, call, files):
    (folder / "empty").mkdir()

    assert call("caption", *files).code == 2


@pytest.mark.parametrize(("name", "shown"), [("new\nline.png", "new\\nline.png"), ("-x y\x1b.png", "./-x y\\x1b.png")])
def test_each_result_is_one_line_whatever_the_name(folder, call, fox, name, shown):
    fox.rename(folder / name)
    word = f"./{name}" if name.startswith("-") else name

    result = call("caption", word, f"no {name}")

    assert result.out == f"{shown}: It is a picture\n"
    assert result.err.endswith(f"easel: no {shown.removeprefix('./')} does not exist.\n")


def test_a_file_that_looks_like_an_option_is_explained(folder, call, fox):
    fox.rename(folder / "-fox.png")

    result = call("caption", "-fox.png")

    assert (result.code, result.err) == (2, "easel: There is no option -f. For the file, write ./-fox.png.\n")


def test_json_loses_no_character_of_a_name(folder, call, fox, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), "ascii", errors="replace")
    monkeypatch.setattr("sys.stdout", out)

    print_json({"input": "\u00fc\udcff"})

    assert out.buffer.getvalue() == b'{"input": "\\u00fc\\udcff"}\n'


def test_a_pipe_that_nobody_writes_is_read_before_the_event_loop_starts(folder, fox):
    """Where Ctrl-C interrupts it."""
    os.mkfifo("pipe.png")
    with ThreadPoolExecutor() as threads:
        threads.submit(lambda: Path("pipe.png").write_bytes(b"image"))
        read = read_streams([InputFile("pipe.png"), InputFile("fox.png")], ImagesSettings())

    assert [file.data for file in read] == [b"image", None]


def test_a_reader_that_closes_the_pipe_ends_the_jobs(call, photos, monkeypatch):
    cancelled: list[str] = []

    async def cancel(client, ids):
        cancelled.extend(ids)

    def print_nothing(_line):
        raise BrokenPipeError

    monkeypatch.setattr("adapters.cli.file_jobs.cancel_jobs", cancel)
    monkeypatch.setattr("adapters.cli.file_jobs.print_line", print_nothing)
    monkeypatch.setattr("sys.stdout.fileno", lambda: os.open(os.devnull, os.O_WRONLY), raising=False)

    result = call("caption", "photos")

    assert (result.code, result.err.count("Something went wrong")) == (1, 0)
    assert cancelled


def test_file_names_that_are_taken_are_refused_before_any_job(call, photos, monkeypatch):
    monkeypatch.chdir(photos)
    (photos / "big-2.png").touch()

    result = call("upscale", "a.png", "c.jpg", "--out", "big.png")

    assert (result.code, result.out) == (2, "")
    assert result.err == "easel: big-2.png already exists: choose another name or move it.\n"


def test_numbered_results_keep_the_places_of_their_files(call, photos, monkeypatch):
    monkeypatch.chdir(photos)

    result = call("upscale", "a.png", "bad.png", "c.jpg", "--out", "big.png")

    assert (result.code, result.out.splitlines()) == (1, ["big-1.png", "big-3.png"])


async def test_a_restarting_server_is_waited_for_before_the_next_file(photos):
    """While the jobs of other files wait for it too."""
    client: Any = RestartingClient()
    images = image_arguments(COMMANDS["caption"], ["a.png"], "", {})
    parsed = parse_request(COMMANDS["caption"], {}, images, out=None, as_json=True, is_confirmed=False)

    jobs = FileJobs(client, parsed, ImagesSettings(), ProgressLine(), total=2)
    code = await jobs.run([InputFile(str(photos / name)) for name in ("a.png", "c.jpg")])

    assert (code, client.uploads) == (0, 3)


class RestartingClient:
    """Its second upload fails; the first job ends then."""

    def __init__(self):
        self.uploads = 0
        self.failed = asyncio.Event()

    async def upload_image(self, data):
        self.uploads += 1
        if self.uploads == 2:
            self.failed.set()
            raise Failure("The server does not respond.", code="server_gone")
        return "image"

    async def submit_jobs(self, request, quote):
        return [f"job{self.uploads}"]

    async def follow_job(self, job_id):
        await self.failed.wait()
        result = {"media": [], "text": "a fox", "notes": []}
        yield {"id": job_id, "state": "delivered", "result": result, "error": None}


def test_one_question_about_all_files_is_refused_by_a_model_that_sees_one_at_a_time(call, photos, monkeypatch):
    monkeypatch.chdir(photos)
    (photos / "bad.png").unlink()

    one = call("ask", "a.png", "what is this?", "--together")
    several = call("ask", ".", "--together", "what is this?")

    assert (one.code, one.out) == (0, "It is what is this?\n")
    assert (several.code, several.out) == (2, "")
    assert "sees one picture at a time" in several.err


def test_one_question_about_all_files_is_one_job_of_a_model_that_sees_them_together(call, photos, monkeypatch):
    monkeypatch.chdir(photos)
    monkeypatch.setattr("bot.commands.ask.chats", lambda _model: True)

    result = call("ask", "a.png", "c.jpg", "what differs?", "--together", "--json")

    body = json.loads(result.out)
    assert (body["result"]["text"], len(body["images"])) == ("It is what differs?", 2)


def test_of_many_files_only_a_few_are_in_memory(call, photos, monkeypatch):
    begun: list[str] = []
    printed: list[str] = []
    most: list[int] = []
    run_file, print_outcome = FileJobs._run_file, FilePrinter.print_outcome

    async def run(self, file):
        begun.append(file.name)
        most.append(len(begun) - len(printed))
        return await run_file(self, file)

    async def show(self, outcome):
        printed.append(outcome.name)
        await print_outcome(self, outcome)

    monkeypatch.setattr("adapters.cli.file_jobs.MAX_STARTED", 2)
    monkeypatch.setattr(FileJobs, "_run_file", run)
    monkeypatch.setattr(FilePrinter, "print_outcome", show)

    call("caption", "photos")

    assert printed == begun == [f"photos/{name}" for name in ("a.png", "b.PNG", "bad.png", "c.jpg")]
    assert max(most) == 2
