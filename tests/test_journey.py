"""The whole path of a user: the real server, real workers, the starter models, no fakes.

Started by the fork server; `test_first_hour.py` has the real start of program and engine.
"""

import base64
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.fork_server import client
from tests.fork_server.client import REAL_START, Forks

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "a red circle on a blue background"
STEPS = 5
"""Enough for the right colours."""
PATIENCE_S = 300.0
ENVIRON = {**os.environ, "EASEL_POOL__NICE": "0"}
"""Workers run without nice: beside other tests they would hardly get processor time."""


class Server:
    """`main.py serve` with its own data directory and a free port."""

    def __init__(self, data_dir: Path, forks: Forks = REAL_START) -> None:
        data_dir.mkdir(exist_ok=True)
        self.environ = {**ENVIRON, "EASEL_DATA_DIR": str(data_dir), "EASEL_WEB__PORT": "0"}
        self.log = data_dir / "server.txt"
        with self.log.open("w") as log:
            self.process = client.start(["main.py", "serve"], forks, env=self.environ, output=log)
        try:
            self.url = self._announced()
        except BaseException:
            self.kill()
            raise
        self.web = httpx.Client(base_url=f"{self.url}/api/v1", timeout=30, trust_env=False)

    def _announced(self) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if found := re.search(r"The page: (http://[^ \n]+?)/?\n", self.log.read_text()):
                return found.group(1)
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def run(self, command: str, options: dict[str, Any], *images: str) -> dict[str, Any]:
        """Submit a job and wait for its end."""
        job_id = self.ask(command, options, *images)
        return self.wait(job_id)

    def ask(self, command: str, options: dict[str, Any], *images: str) -> str:
        answer = self.web.post("/jobs", json={"command": command, "options": options, "images": list(images)})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def wait(self, job_id: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            job: dict[str, Any] = self.web.get(f"/jobs/{job_id}").json()
            if job["state"] not in ("queued", "running", "rendered"):
                return job
            time.sleep(0.1)
        raise AssertionError(f"job {job_id} did not end: {job}")

    def picture(self, media_id: str) -> bytes:
        return self.web.get(f"/media/{media_id}").content

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Stop the server; returns its exit code."""
        self.web.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=PATIENCE_S)
        finally:
            self.kill()


@contextlib.contextmanager
def serving(data_dir: Path, forks: Forks = REAL_START) -> Iterator[Server]:
    server = Server(data_dir, forks)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("data"), forks) as running:
        yield running


@pytest.fixture(scope="module")
def imagined(server: Server) -> dict[str, Any]:
    return server.run("imagine", {"prompt": PROMPT, "seed": 7, "steps": STEPS})


def easel(forks: Forks, environ: dict[str, str], *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "main.py"), *words]
    return client.run(command, forks, env=environ, cwd=folder, timeout=PATIENCE_S)


def colour_at(data: bytes, x: float, y: float) -> tuple[int, ...]:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    pixel = picture.getpixel((int(x * picture.width), int(y * picture.height)))
    assert isinstance(pixel, tuple)
    return pixel


def is_near(pixel: tuple[int, ...], colour: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 45 for one, other in zip(pixel, colour, strict=True))


def test_a_typed_prompt_becomes_that_picture(server: Server, imagined: dict[str, Any]) -> None:
    assert imagined["state"] == "delivered", imagined
    picture = server.picture(imagined["result"]["media"][0]["id"])
    assert is_near(colour_at(picture, 0.5, 0.5), (220, 40, 40))
    assert is_near(colour_at(picture, 0.04, 0.04), (40, 80, 220))


def test_a_question_about_the_picture_is_answered_rightly(server: Server, imagined: dict[str, Any]) -> None:
    picture = imagined["result"]["media"][0]["id"]

    background = server.run("ask", {"question": "what color is the background?"}, picture)
    shape = server.run("ask", {"question": "what shape is this?"}, picture)

    assert "blue" in background["result"]["text"].lower()
    assert "circle" in shape["result"]["text"].lower()


def test_a_caption_says_what_is_in_the_picture(server: Server, imagined: dict[str, Any]) -> None:
    caption = server.run("caption", {}, imagined["result"]["media"][0]["id"])

    assert "circle" in caption["result"]["text"].lower()


def test_openais_api_draws_repaints_describes_and_embeds(server: Server) -> None:
    """Without OpenAI's client, which CI alone has: `tests/clients` drives the same calls with it."""

    def call(path: str, **request: Any) -> Any:
        answer = httpx.post(f"{server.url}/v1/{path}", timeout=PATIENCE_S, trust_env=False, **request)
        assert answer.status_code == 200, answer.text
        return answer.json()

    left = Image.new("RGBA", (128, 128), "black")
    left.paste((0, 0, 0, 0), (0, 0, 64, 128))
    left.save(mask := io.BytesIO(), "PNG")
    body = {"prompt": PROMPT, "n": 1, "size": "128x128", "steps": STEPS, "seed": 7}
    picture = base64.b64decode(call("images/generations", json=body)["data"][0]["b64_json"])
    files = {"image": ("a.png", picture), "mask": ("mask.png", mask.getvalue())}
    edit = {"prompt": "a yellow background", "steps": str(STEPS)}
    repainted = base64.b64decode(call("images/edits", data=edit, files=files)["data"][0]["b64_json"])
    url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    parts = [{"type": "text", "text": "what shape is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    chat = call("chat/completions", json={"model": "gpt-4o", "messages": [{"role": "user", "content": parts}]})
    vectors = call("embeddings", json={"input": ["a red circle", url]})["data"]

    assert is_near(colour_at(picture, 0.5, 0.5), (220, 40, 40))
    assert colour_at(repainted, 0.04, 0.04) != colour_at(picture, 0.04, 0.04)
    assert colour_at(repainted, 0.96, 0.96) == colour_at(picture, 0.96, 0.96)
    assert "circle" in chat["choices"][0]["message"]["content"].lower()
    assert len(vectors[0]["embedding"]) == len(vectors[1]["embedding"])


def test_the_same_seed_makes_the_same_picture_and_another_makes_another(
    server: Server, imagined: dict[str, Any]
) -> None:
    again = server.run("imagine", {"prompt": PROMPT, "seed": 7, "steps": STEPS})
    other = server.run("imagine", {"prompt": PROMPT, "seed": 8, "steps": 1})

    def pixels(job: dict[str, Any]) -> bytes:
        return Image.open(io.BytesIO(server.picture(job["result"]["media"][0]["id"]))).tobytes()

    assert pixels(again) == pixels(imagined)
    assert pixels(other) != pixels(imagined)


def test_picture_k_of_several_uses_the_seed_plus_k(server: Server, imagined: dict[str, Any]) -> None:
    several = server.run("imagine", {"prompt": PROMPT, "seed": 6, "count": 2, "steps": STEPS})

    second = Image.open(io.BytesIO(server.picture(several["result"]["media"][1]["id"])))
    alone = Image.open(io.BytesIO(server.picture(imagined["result"]["media"][0]["id"])))
    # Both of them are made in the same passes, which changes a picture by a level at most.
    assert max(abs(one - other) for one, other in zip(second.tobytes(), alone.tobytes(), strict=True)) <= 1


def test_the_best_of_eight_comes_first_and_is_what_its_seed_gives_alone(server: Server) -> None:
    """Halved while they are made, by the starter that matches; repeated by its recipe and by its own options."""
    options = {"prompt": PROMPT, "steps": STEPS}
    best = server.run("imagine", {**options, "seed": 7, "best": 8})
    first, second = best["result"]["media"]
    alone = server.run("imagine", {**options, "seed": first["seed"]})["result"]["media"][0]
    recipe = server.web.get(f"/jobs/{best['id']}/recipe", params={"picture": 2}).json()["all"]
    again = server.run("imagine", best["options"])

    assert 1 >= first["score"] >= second["score"] >= 0
    assert {first["seed"], second["seed"]} < set(range(7, 15))
    assert best["result"]["seed"] == first["seed"]
    assert recipe["seed"] == second["seed"]
    assert recipe.keys().isdisjoint({"best", "count"})
    assert {one["seed"] for one in again["result"]["media"]} == {first["seed"], second["seed"]}
    one, other = (Image.open(io.BytesIO(server.picture(media["id"]))) for media in (first, alone))
    assert max(abs(ours - theirs) for ours, theirs in zip(one.tobytes(), other.tobytes(), strict=True)) <= 1


def test_a_picture_read_back_gives_the_command_that_made_it(server: Server, imagined: dict[str, Any]) -> None:
    data = server.picture(imagined["result"]["media"][0]["id"])

    uploaded = server.web.post("/media", files={"file": ("mine.png", data)}).json()

    said = uploaded["parameters"]
    assert said["command"] == "imagine"
    assert {key: said["options"][key] for key in ("prompt", "seed", "steps")} == {
        "prompt": PROMPT,
        "seed": 7,
        "steps": imagined["options"]["steps"],
    }


def test_a_picture_can_start_from_another(server: Server, imagined: dict[str, Any]) -> None:
    source = imagined["result"]["media"][0]["id"]

    changed = server.run("imagine", {"prompt": "a red star on a blue background", "strength": 0.8, "steps": 4}, source)

    assert changed["state"] == "delivered", changed
    assert changed["result"]["media"][0]["id"] != source


def test_events_lead_from_the_state_through_progress_to_the_result(server: Server) -> None:
    job_id = server.ask("imagine", {"prompt": PROMPT, "count": 2, "steps": 6})

    with server.web.stream("GET", f"/jobs/{job_id}/events", timeout=PATIENCE_S) as answer:
        text = "".join(answer.iter_text())

    kinds = re.findall(r"^event: (\w+)", text, re.MULTILINE)
    assert kinds[0] == "state"
    assert "progress" in kinds
    assert kinds[-1] == "result"


def test_a_running_job_is_cancelled_at_the_next_step_and_nothing_is_charged(server: Server) -> None:
    job_id = server.ask("imagine", {"prompt": PROMPT, "count": 4, "steps": 50})
    while server.web.get(f"/jobs/{job_id}").json()["state"] == "queued":
        time.sleep(0.02)

    answer = server.web.delete(f"/jobs/{job_id}")

    assert answer.status_code == 202
    assert server.wait(job_id)["state"] == "cancelled"


def test_the_command_line_goes_through_the_running_server(
    server: Server, forks: Forks, imagined: dict[str, Any], tmp_path: Path
) -> None:
    made = easel(forks, server.environ, "imagine", PROMPT, "--steps", str(STEPS), folder=tmp_path)
    asked = easel(forks, server.environ, "ask", made.stdout.strip(), "what color is the background?", folder=tmp_path)

    assert made.returncode == 0, made.stderr
    assert Image.open(io.BytesIO((tmp_path / made.stdout.strip()).read_bytes())).size == (128, 128)
    assert asked.stdout.strip() == "blue"
    history = server.web.get("/jobs").json()["jobs"]
    assert history[0]["command"] == "ask"


def test_one_shot_commands_work_without_a_server(forks: Forks, tmp_path: Path) -> None:
    environ = {**ENVIRON, "EASEL_DATA_DIR": str(tmp_path / "data")}

    made = easel(forks, environ, "imagine", PROMPT, "--steps", str(STEPS), "--json", folder=tmp_path)
    file = json.loads(made.stdout)["files"][0]
    asked = easel(forks, environ, "ask", file, "what color is the background?", folder=tmp_path)

    assert made.returncode == 0, made.stderr
    assert asked.stdout.strip() == "blue"


def test_a_second_server_on_the_same_data_is_refused_with_a_sentence(
    server: Server, forks: Forks, tmp_path: Path
) -> None:
    second = easel(forks, server.environ, "serve", folder=tmp_path)

    assert second.returncode != 0
    assert server.url in second.stderr
    assert "Traceback" not in second.stderr


def test_neither_a_kill_nor_a_stop_loses_what_was_accepted(forks: Forks, tmp_path: Path) -> None:
    with serving(tmp_path, forks) as first:
        jobs = [first.ask("imagine", {"prompt": PROMPT, "seed": seed, "steps": 3}) for seed in range(4)]
        first.kill()

    with serving(tmp_path, forks) as second:
        states = [second.wait(job_id)["state"] for job_id in jobs]
        last = second.ask("imagine", {"prompt": PROMPT, "steps": 3})

        code = second.stop()

    assert states == ["delivered"] * 4
    assert code == 0
    with serving(tmp_path, forks) as third:
        assert third.wait(last)["state"] == "delivered"
