"""Logging: one stream, stable actions, and no secrets, from any source."""

import io
import json
import logging
import threading
from logging.handlers import RotatingFileHandler

import pytest
import structlog

from bot.runtime.logs import LogsSettings, Redactor, guard_handlers, set_up_logging

SECRET = "canary/very+secret value"
TOKENS = {
    "discord": "MTE" + "x" * 21 + ".Gabcde." + "y" * 38,
    "telegram": "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1",
    "hugging face": "hf_" + "aBcD" * 8,
    "api key": "0a1b2c3d." + "Zz_-" * 11,
}


@pytest.fixture(autouse=True)
def restored():
    root = logging.getLogger()
    handlers, level, hook = list(root.handlers), root.level, threading.excepthook
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    threading.excepthook = hook
    logging.captureWarnings(False)
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


class Screen(io.StringIO):
    def __init__(self, is_terminal=False):
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self):
        return self._is_terminal


@pytest.fixture
def screen():
    return Screen()


@pytest.fixture
def set_up(screen, tmp_path):
    def setting_up(**settings):
        return set_up_logging(LogsSettings(**settings), data_dir=tmp_path, secrets=[SECRET], console=screen)

    return setting_up


def events(screen):
    return [json.loads(line) for line in screen.getvalue().splitlines()]


def everything(screen, tmp_path):
    return screen.getvalue() + "".join(path.read_text() for path in (tmp_path / "logs").glob("*"))


# ---------------------------------------------------------------- what is written


def test_an_event_is_a_line_with_its_action_and_the_job_it_is_about(set_up, screen):
    set_up()
    with structlog.contextvars.bound_contextvars(job_id="abc"):
        structlog.get_logger("bot.x").info("a job ended", action="job_ended", seconds=1.5)

    (event,) = events(screen)
    assert list(event)[:5] == ["timestamp", "level", "event", "action", "job_id"]
    assert (event["event"], event["action"], event["job_id"], event["seconds"]) == (
        "a job ended",
        "job_ended",
        "abc",
        1.5,
    )


def test_libraries_write_into_the_same_stream(set_up, screen):
    set_up()
    logging.getLogger("some.library").warning("it is %s", "late")

    (event,) = events(screen)
    assert (event["event"], event["level"], event["logger"]) == ("it is late", "warning", "some.library")


def test_the_file_holds_the_same_lines(set_up, screen, tmp_path):
    set_up()
    structlog.get_logger("bot.x").info("a job ended", action="job_ended")

    assert (tmp_path / "logs" / "easel.log").read_text() == screen.getvalue()
    assert (tmp_path / "logs" / "easel.log").stat().st_mode & 0o077 == 0


def test_a_terminal_gets_readable_lines(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    screen = Screen(is_terminal=True)
    set_up_logging(LogsSettings(), data_dir=None, console=screen)
    structlog.get_logger("bot.x").info("a job ended", action="job_ended")

    assert "a job ended" in screen.getvalue()
    assert "action=job_ended" in screen.getvalue()
    assert "\x1b" not in screen.getvalue()


def test_json_can_be_chosen_for_a_terminal():
    screen = Screen(is_terminal=True)
    set_up_logging(LogsSettings(format="json"), data_dir=None, console=screen)
    structlog.get_logger("bot.x").info("a job ended")

    assert events(screen)[0]["event"] == "a job ended"


@pytest.mark.parametrize(
    "name", ["httpx", "httpcore.http11", "httpx2", "httpcore2.http11", "aiosqlite", "uvicorn.access", "alembic.runtime"]
)
def test_talkative_libraries_are_heard_from_warning_on(set_up, screen, monkeypatch, name):
    monkeypatch.setattr(logging.getLogger(name), "propagate", True)  # uvicorn's servers of other tests change it
    set_up(level="debug")
    logging.getLogger(name).info("GET https://api.example/bot123")
    logging.getLogger(name).warning("late")

    assert [event["event"] for event in events(screen)] == ["late"]


@pytest.mark.parametrize(("level", "seen"), [("info", "[hidden]"), ("debug", "a fox")])
def test_prompts_are_written_at_debug_only(set_up, screen, level, seen):
    set_up(level="debug")
    getattr(structlog.get_logger("bot.x"), level)(
        "asked", prompt="a fox", question="a fox", options={"prompt": "a fox"}
    )

    assert events(screen)[0]["prompt"] == seen
    assert ("a fox" in screen.getvalue()) is (level == "debug")


def test_setting_up_twice_writes_each_line_once(set_up, screen):
    set_up()
    set_up()
    structlog.get_logger("bot.x").info("once")

    assert len(events(screen)) == 1


def test_files_are_put_aside_when_they_are_large(set_up, tmp_path):
    set_up(files=2)
    (file,) = (one for one in logging.getLogger().handlers if isinstance(one, RotatingFileHandler))
    file.maxBytes = 1000
    for _ in range(40):
        structlog.get_logger("bot.x").info("x" * 100)

    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["easel.log", "easel.log.1", "easel.log.2"]


def test_a_log_that_cannot_be_written_stops_nothing(screen, tmp_path, capsys):
    (tmp_path / "logs").touch()
    set_up_logging(LogsSettings(), data_dir=tmp_path, console=screen)

    structlog.get_logger("bot.x").info("goes on")

    assert events(screen)[0]["event"] == "goes on"
    assert capsys.readouterr() == ("", "")


def test_an_error_in_a_thread_is_logged(set_up, screen):
    set_up()
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()

    assert "ZeroDivisionError" in events(screen)[0]["exception"]


# ---------------------------------------------------------------- what never is


def write_everywhere(canary):
    """Every path by which a value can reach the log."""
    log = structlog.get_logger("bot.x")
    log.info(f"text {canary}", action="a")
    log.warning("value", action="a", url=f"http://h/{canary}/x", nested={"deep": [(canary,)], canary: 1})
    log.warning("object", thing=type("Thing", (), {"__repr__": lambda _self: f"<{canary}>"})())
    logging.getLogger("library").error("arguments %s %r", canary, [canary])
    logging.getLogger("library").error("mapping %(one)s", {"one": canary})
    logging.getLogger("library").error("does not fit %s %s", canary)
    logging.getLogger("library").error(ValueError(canary))
    with structlog.contextvars.bound_contextvars(note=canary):
        log.info("context")
    try:
        try:
            raise ValueError(canary)
        except ValueError as error:
            raise RuntimeError(f"because {canary}") from error
    except RuntimeError:
        log.exception("broke", action="a")
        logging.getLogger("library").exception("broke")


@pytest.mark.parametrize("canary", [SECRET, *TOKENS.values()], ids=["known value", *TOKENS])
@pytest.mark.parametrize("format_", ["json", "console"])
def test_no_secret_gets_into_the_log_by_any_way(set_up, screen, tmp_path, canary, format_):
    set_up(format=format_, level="debug")

    write_everywhere(canary)

    written = everything(screen, tmp_path)
    assert written.count("[hidden]") > 20
    assert canary not in written
    assert canary.split("/")[-1] not in written


def test_json_stays_json_around_what_was_hidden(set_up, screen):
    set_up(format="json")

    write_everywhere(f"Bearer {TOKENS['api key']}")

    assert len(events(screen)) == 10


def test_a_secret_in_a_url_is_also_redacted(set_up, screen):
    set_up()
    structlog.get_logger("bot.x").info("sent", url="https://h/canary%2Fvery%2Bsecret%20value/x")

    assert events(screen)[0]["url"] == "https://h/[hidden]/x"


def test_a_secret_that_comes_up_later_is_hidden_from_then_on(set_up, screen):
    set_up().add_secrets("late-canary")
    structlog.get_logger("bot.x").info("late-canary")

    assert "late-canary" not in screen.getvalue()


def test_handlers_of_libraries_also_redact(set_up):
    redactor, own = set_up(), Screen()
    library = logging.getLogger("a.library")
    library.addHandler(handler := logging.StreamHandler(own))
    guard_handlers(redactor)
    try:
        library.error("token %s", SECRET)
        try:
            raise ValueError(SECRET)
        except ValueError:
            library.exception("broke")
    finally:
        library.removeHandler(handler)

    assert "canary" not in own.getvalue()
    assert own.getvalue().count("[hidden]") >= 2


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"https://api.telegram.org/bot{TOKENS['telegram']}/getMe", "https://api.telegram.org/bot[hidden]/getMe"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer [hidden]"),
        ("postgresql://ann:pass-word@db/easel", "postgresql://ann:[hidden]@db/easel"),
        (f"/api/webhooks/123/{'w' * 68}", "/api/webhooks/123/[hidden]"),
    ],
)
def test_whatever_looks_like_a_token_is_redacted(text, hidden):
    assert Redactor().redact_text(text) == hidden


@pytest.mark.parametrize(
    "text",
    [
        "a job ended at 12:30:45",
        "http://127.0.0.1:8000/api/v1/jobs/abcdefghij234567",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "/srv/models/starter-image/unet/diffusion_pytorch_model.safetensors",
        "key 0a1b2c3d made",
    ],
)
def test_what_is_no_token_stays(text):
    assert Redactor().redact_text(text) == text
