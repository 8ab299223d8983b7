"""Layered settings, problems with their location, and secrets that are never shown."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from structlog.testing import capture_logs

from bot.errors import ConfigError
from bot.settings import (
    RenamedSetting,
    Secrets,
    find_data_dir,
    log_renamed_settings,
    make_data_dir,
    read_secrets,
    read_settings,
    settings_files,
)


@dataclass(frozen=True, kw_only=True)
class Web:
    bounds: ClassVar = {"port": (0, 65535), "shift": (None, None)}

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = 8000
    shift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Queue:
    renamed: ClassVar = {"max_waiting": "most"}

    most: int = 50
    lease_s: float = 60.0
    names: tuple[str, ...] = ()
    use: str | tuple[str, ...] = "auto"
    order: Literal["fair", "first"] = "fair"
    folder: Path = Path("here")


@dataclass(frozen=True, kw_only=True)
class Model:
    renamed: ClassVar = {"rounds": "steps", "uri": "repo"}

    tasks: tuple[str, ...]
    repo: str
    steps: int = 20


@pytest.fixture
def write(tmp_path):
    def writing(text, name="config.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return writing


def read(*files, **environ):
    return read_settings({"web": Web, "queue": Queue}, model_type=Model, files=files, environ=environ)


def problems(*files, **environ):
    with pytest.raises(ConfigError) as wrong:
        read(*files, **environ)
    return wrong.value.problems


FOX = '[models.fox]\ntasks = ["text-to-image"]\nrepo = "org/fox"\n'


def test_without_files_every_setting_has_its_default():
    assert read() == {"web": Web(), "queue": Queue(), "models": {}}


def test_later_files_win_and_variables_win_over_files(write):
    first = write("[web]\nport = 1\nhost = 'a'\nenabled = false\n")
    second = write("[web]\nport = 2\nhost = 'b'\n", "second.toml")

    assert read(first, second, EASEL_WEB__PORT="3")["web"] == Web(port=3, host="b", enabled=False)


def test_the_files_are_the_defaults_the_overlay_if_there_is_one_and_the_one_named(tmp_path):
    named = tmp_path / "named.toml"
    before = settings_files(tmp_path / "root", tmp_path, named)
    (tmp_path / "config.toml").touch()

    assert before == [tmp_path / "root" / "config.toml", named]
    assert settings_files(tmp_path / "root", tmp_path, None) == [
        tmp_path / "root" / "config.toml",
        tmp_path / "config.toml",
    ]


# ---------------------------------------------------------------- variables


@pytest.mark.parametrize(
    ("variable", "text", "section", "value"),
    [
        ("EASEL_WEB__PORT", "0", "web", Web(port=0)),
        ("EASEL_WEB__PORT", " 80 ", "web", Web(port=80)),
        ("EASEL_WEB__HOST", "0.0.0.0", "web", Web(host="0.0.0.0")),
        ("EASEL_WEB__HOST", "", "web", Web(host="")),
        ("EASEL_WEB__HOST", "8000", "web", Web(host="8000")),
        ("EASEL_WEB__ENABLED", "no", "web", Web(enabled=False)),
        ("EASEL_WEB__ENABLED", "False", "web", Web(enabled=False)),
        ("EASEL_WEB__ENABLED", "0", "web", Web(enabled=False)),
        ("EASEL_WEB__SHIFT", "-2", "web", Web(shift=-2.0)),
        ("EASEL_QUEUE__LEASE_S", "5", "queue", Queue(lease_s=5.0)),
        ("EASEL_QUEUE__NAMES", "a, b,", "queue", Queue(names=("a", "b"))),
        ("EASEL_QUEUE__NAMES", '["a", "b,c"]', "queue", Queue(names=("a", "b,c"))),
        ("EASEL_QUEUE__NAMES", "", "queue", Queue(names=())),
        ("EASEL_QUEUE__USE", "auto", "queue", Queue(use="auto")),
        ("EASEL_QUEUE__USE", "cuda:0,cuda:1", "queue", Queue(use=("cuda:0", "cuda:1"))),
        ("EASEL_QUEUE__ORDER", "first", "queue", Queue(order="first")),
        ("EASEL_QUEUE__FOLDER", "/srv", "queue", Queue(folder=Path("/srv"))),
    ],
)
def test_the_text_of_a_variable_is_read_as_the_setting_wants_it(variable, text, section, value):
    assert read(**{variable: text})[section] == value


@pytest.mark.parametrize(
    ("variable", "text", "sentence"),
    [
        ("EASEL_WEB__PORT", "abc", "EASEL_WEB__PORT is \u201cabc\u201d, but must be a whole number from 0 to 65535."),
        ("EASEL_WEB__PORT", "", "EASEL_WEB__PORT is \u201c\u201d, but must be a whole number from 0 to 65535."),
        (
            "EASEL_WEB__PORT",
            "70000",
            "EASEL_WEB__PORT is \u201c70000\u201d, but must be a whole number from 0 to 65535.",
        ),
        ("EASEL_WEB__PORT", "8.5", "EASEL_WEB__PORT is \u201c8.5\u201d, but must be a whole number from 0 to 65535."),
        ("EASEL_WEB__PORT", "true", "EASEL_WEB__PORT is \u201ctrue\u201d, but must be a whole number from 0 to 65535."),
        ("EASEL_WEB__ENABLED", "maybe", "EASEL_WEB__ENABLED is \u201cmaybe\u201d, but must be true or false."),
        ("EASEL_QUEUE__LEASE_S", "nan", "EASEL_QUEUE__LEASE_S is \u201cnan\u201d, but must be a number of at least 0."),
        ("EASEL_QUEUE__MOST", "-1", "EASEL_QUEUE__MOST is \u201c-1\u201d, but must be a whole number of at least 0."),
        ("EASEL_QUEUE__ORDER", "last", "EASEL_QUEUE__ORDER is \u201clast\u201d, but must be one of fair, first."),
        ("EASEL_QUEUE__NAMES", "[1]", "EASEL_QUEUE__NAMES is \u201c[1]\u201d, but must be a list, each text."),
    ],
)
def test_an_invalid_variable_is_reported_with_the_allowed_values(variable, text, sentence):
    (line,) = problems(**{variable: text})

    assert line.startswith(f"{variable} is ")
    assert sentence in line


@pytest.mark.parametrize(
    ("variable", "parts"),
    [
        ("EASEL_WEB__PROT", ["Did you mean EASEL_WEB__PORT?", "Known: EASEL_WEB__ENABLED, EASEL_WEB__HOST"]),
        ("EASEL_WBE__PORT", ["Did you mean EASEL_WEB__PORT?"]),
        ("EASEL_PORT", ["no setting has this name"]),
        ("EASEL_WEB", ["no setting has this name"]),
        ("EASEL_MODELS__FOX__STEPZ", ["Did you mean EASEL_MODELS__FOX__STEPS?"]),
        ("EASEL_DISCORD_TOKEN", ["Tokens are not settings", "DISCORD_TOKEN"]),
    ],
)
def test_a_variable_that_no_setting_has_is_refused_with_the_nearest(write, variable, parts):
    (line,) = problems(write(FOX), **{variable: "1"})

    assert line.startswith(f"{variable}: ")
    assert [part for part in parts if part not in line] == []


def test_variables_that_are_no_settings_are_left_alone():
    read(EASEL_DATA_DIR="x", EASEL_REQUIRE_BROWSER="1", EASEL_TEST_ANYTHING="1", PATH="x", EASELX="1")


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[wbe]\nport = 1", "there is no section [wbe]. Did you mean web? Known: web, queue, models."),
        ("port = 1", "port is in no section."),
        ("web = 1", "web must be a section: write [web] and its keys below it."),
        ("[web]\nprot = 1", "web has no key prot. Did you mean port? Known: enabled, host, port, shift."),
        ("[web]\nport = 'abc'", "web.port is \u201cabc\u201d, but must be a whole number from 0 to 65535."),
        ("[web]\nport = '80'", "web.port is \u201c80\u201d, but must be a whole number from 0 to 65535."),
        ("[web]\nport = true", "web.port is true, but must be a whole number from 0 to 65535."),
        ("[web]\nport = 1.5", "web.port is 1.5, but must be a whole number from 0 to 65535."),
        ("[web]\nhost = 1", "web.host is 1, but must be text."),
        ("[web]\nenabled = 1", "web.enabled is 1, but must be true or false."),
        ("[queue]\nlease_s = inf", "queue.lease_s is inf, but must be a number of at least 0."),
        ("[queue]\nlease_s = 2020-01-01", "queue.lease_s is 2020-01-01, but must be a number of at least 0."),
        ("[queue]\nuse = 3", "queue.use is 3, but must be text or a list, each text."),
        ("[queue]\nnames = 'a'", "queue.names is \u201ca\u201d, but must be a list, each text."),
        ("[models.Fox]\nrepo = 'a'", "models.Fox: a model's name has only a to z, 0 to 9 and -."),
        ("[models]\nfox = 1", "models.fox must be a section"),
        ("[models.fox]\nrepo = 'a'", "models.fox lacks tasks."),
        ("[web]\nport = ", "line 2, column 8: this is not TOML: invalid value."),
        ("[web]\nport = 1\nport = 2", "line 3, column 9: this is not TOML: cannot overwrite a value."),
        ('[web]\nhost = """\nx\n', "line 3: this is not TOML: unterminated string."),
    ],
)
def test_an_invalid_line_is_reported_with_its_file(write, text, sentence):
    path = write(text)

    (line,) = problems(path)

    assert line.startswith(f"{path}: ")
    assert sentence in line


def test_all_problems_are_reported_together(write):
    assert len(problems(write("[web]\nport = 'x'\nprot = 1\n[wbe]\na = 1"), EASEL_QUEUE__MOST="x")) == 4


def test_a_long_text_in_the_wrong_place_is_not_shown(write):
    (line,) = problems(write("[web]\nport = 'a-token-that-was-pasted-here'"))

    assert "a-token" not in line
    assert "a text of 28 characters" in line


def test_an_unreadable_file_is_reported(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")

    missing, folder, binary = problems(tmp_path / "missing.toml", tmp_path, tmp_path / "binary")

    assert missing == f"{tmp_path / 'missing.toml'}: there is no such file."
    assert "cannot be read" in folder
    assert "is not UTF-8 text" in binary


def test_a_file_that_notepad_saved_is_read(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbf[web]\r\nport = 1\r\n")

    assert read(tmp_path / "a.toml")["web"].port == 1


# ---------------------------------------------------------------- models


def test_models_are_merged_by_name_and_key(write):
    overlay = write("[models.fox]\nsteps = 5\n", "overlay.toml")

    models = read(write(FOX), overlay)["models"]

    assert models == {"fox": Model(tasks=("text-to-image",), repo="org/fox", steps=5)}


def test_models_of_a_later_file_come_first(write):
    own = write(
        '[models.a]\ntasks = []\nrepo = "a"\n[models.fox]\nsteps = 1\n[models.b]\ntasks = []\nrepo = "b"\n', "o"
    )

    assert list(read(write(FOX), own)["models"]) == ["a", "b", "fox"]


def test_a_variable_names_a_model_with_underscores(write):
    path = write(FOX.replace("fox", "red-fox"))

    assert read(path, EASEL_MODELS__RED_FOX__STEPS="3")["models"]["red-fox"].steps == 3


def test_variables_alone_can_make_a_model():
    models = read(EASEL_MODELS__FOX__TASKS="text-to-image,image-to-image", EASEL_MODELS__FOX__REPO="org/fox")["models"]

    assert models == {"fox": Model(tasks=("text-to-image", "image-to-image"), repo="org/fox")}


def test_a_mistyped_model_in_a_variable_is_reported_with_the_most_similar(write):
    (line,) = problems(write(FOX), EASEL_MODELS__FXO__STEPS="3")

    assert line == "EASEL_MODELS__FXO__STEPS: models.fxo lacks tasks, repo. Did you mean models.fox?"


# ---------------------------------------------------------------- renamed settings


def read_with_warnings(*files, **environ):
    warnings: list[Any] = []
    settings = read_settings(
        {"web": Web, "queue": Queue}, model_type=Model, files=files, environ=environ, on_renamed=warnings.append
    )
    return settings, warnings


def test_the_old_name_of_a_setting_still_works_with_a_warning_that_names_both(write):
    path = write("[queue]\nmax_waiting = 7\n")

    settings, warnings = read_with_warnings(path)

    assert settings["queue"] == Queue(most=7)
    assert warnings == [RenamedSetting(str(path), "queue.max_waiting", "queue.most")]
    assert str(path) in warnings[0].sentence
    assert "queue.max_waiting" in warnings[0].sentence
    assert "queue.most" in warnings[0].sentence


def test_each_old_name_is_logged_once():
    renamed = [RenamedSetting("a.toml", "queue.max_waiting", "queue.most")] * 2

    with capture_logs() as logged:
        log_renamed_settings(renamed)

    assert [(one["action"], one["log_level"], one["source"]) for one in logged] == [
        ("setting_renamed", "warning", "a.toml")
    ]
    assert (logged[0]["old_name"], logged[0]["new_name"]) == ("queue.max_waiting", "queue.most")


def test_the_old_name_of_a_variable_still_works(write):
    settings, warnings = read_with_warnings(write(FOX), EASEL_QUEUE__MAX_WAITING="7", EASEL_MODELS__FOX__ROUNDS="3")

    assert settings["queue"] == Queue(most=7)
    assert settings["models"]["fox"].steps == 3
    assert [(one.old, one.new) for one in warnings] == [
        ("EASEL_MODELS__FOX__ROUNDS", "EASEL_MODELS__FOX__STEPS"),
        ("EASEL_QUEUE__MAX_WAITING", "EASEL_QUEUE__MOST"),
    ]


def test_the_old_name_of_a_models_key_still_works_even_of_one_that_it_must_have(write):
    settings, warnings = read_with_warnings(write("[models.fox]\ntasks = []\nuri = 'org/fox'\nrounds = 3\n"))

    assert settings["models"]["fox"] == Model(tasks=(), repo="org/fox", steps=3)
    assert [(one.old, one.new) for one in warnings] == [
        ("models.fox.uri", "models.fox.repo"),
        ("models.fox.rounds", "models.fox.steps"),
    ]


def test_an_old_name_wins_over_the_new_one_of_an_earlier_file_and_the_other_way_round(write):
    shipped, own = write("[queue]\nmost = 50\n"), write("[queue]\nmax_waiting = 7\n", "own.toml")

    assert read(shipped, own)["queue"].most == 7
    assert read(own, shipped)["queue"].most == 50
    assert read(own, EASEL_QUEUE__MOST="8")["queue"].most == 8


@pytest.mark.parametrize("text", ["max_waiting = 7\nmost = 8", "most = 8\nmax_waiting = 7"])
def test_both_names_in_one_file_are_refused(write, text):
    path = write(f"[queue]\n{text}\n")

    (line,) = problems(path)

    assert (
        line == f"{path}: queue.max_waiting is the old name of queue.most, which is also set: delete queue.max_waiting."
    )


def test_both_names_as_variables_are_refused():
    (line,) = problems(EASEL_QUEUE__MAX_WAITING="7", EASEL_QUEUE__MOST="8")

    assert line == (
        "EASEL_QUEUE__MAX_WAITING is the old name of EASEL_QUEUE__MOST, which is also set: "
        "delete EASEL_QUEUE__MAX_WAITING."
    )


def test_a_wrong_value_of_an_old_name_is_reported_under_that_name(write):
    path = write("[queue]\nmax_waiting = 'x'\n")

    in_a_file, in_a_variable = problems(path, EASEL_QUEUE__MAX_WAITING="y")

    assert in_a_file == f"{path}: queue.max_waiting is \u201cx\u201d, but must be a whole number of at least 0."
    assert in_a_variable == "EASEL_QUEUE__MAX_WAITING is \u201cy\u201d, but must be a whole number of at least 0."


# ---------------------------------------------------------------- the data directory


def test_the_data_directory_is_the_one_named_or_the_platforms_own(tmp_path):
    assert find_data_dir({"EASEL_DATA_DIR": str(tmp_path)}) == tmp_path
    assert find_data_dir({}).name == "easel"


def test_a_data_directory_is_made_for_its_owner_alone(tmp_path):
    made = make_data_dir({"EASEL_DATA_DIR": str(tmp_path / "a" / "b")})

    assert made.is_dir()
    assert os.name != "posix" or made.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("below", ["file", "file/data"])
def test_a_data_directory_that_cannot_be_is_one_sentence(tmp_path, below):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError) as wrong:
        make_data_dir({"EASEL_DATA_DIR": str(tmp_path / below)})

    (sentence,) = wrong.value.problems
    assert "EASEL_DATA_DIR" in sentence


# ---------------------------------------------------------------- secrets


@pytest.fixture
def keep(tmp_path):
    def keeping(text, mode=0o600):
        path = tmp_path / "secrets.env"
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)

    return keeping


def wrong_secrets(environ, tmp_path):
    with pytest.raises(ConfigError) as wrong:
        read_secrets(environ, tmp_path)
    return wrong.value.problems


@pytest.mark.parametrize(
    ("variable", "field"),
    [
        ("DISCORD_TOKEN", "discord_token"),
        ("DISCORD_BOT_TOKEN", "discord_token"),
        ("TELEGRAM_BOT_TOKEN", "telegram_token"),
        ("TELEGRAM_TOKEN", "telegram_token"),
        ("HF_TOKEN", "hf_token"),
    ],
)
@pytest.mark.parametrize("way", ["variable", "file", "secrets.env"])
def test_a_token_comes_from_its_variable_from_a_file_or_from_secrets_env(variable, field, way, tmp_path, keep):
    (tmp_path / "token").write_text("a-token\n")
    environ = {"variable": {variable: "a-token"}, "file": {f"{variable}_FILE": str(tmp_path / "token")}}.get(way, {})
    keep(f"# mine\n\nexport {variable} = 'a-token'\n" if way == "secrets.env" else "")

    secrets = read_secrets(environ, tmp_path)

    assert getattr(secrets, field) == "a-token"
    assert secrets.values() == ("a-token",)


def test_a_variable_wins_over_secrets_env(tmp_path, keep):
    keep("HF_TOKEN=kept\n")

    assert read_secrets({"HF_TOKEN": "given"}, tmp_path).hf_token == "given"


def test_without_secrets_there_are_none(tmp_path):
    assert read_secrets({"HF_TOKEN": " "}, tmp_path) == Secrets()


def test_secrets_are_never_shown(tmp_path):
    shown = repr(read_secrets({"HF_TOKEN": "canary", "DISCORD_TOKEN": "canary"}, tmp_path))

    assert "canary" not in shown
    assert "HF_TOKEN" in shown


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_secrets_that_others_can_reach_are_refused(tmp_path, keep, mode):
    keep("HF_TOKEN=canary\n", mode)

    (sentence,) = wrong_secrets({}, tmp_path)

    assert f"chmod 600 {tmp_path / 'secrets.env'}" in sentence
    assert "canary" not in sentence


def test_an_invalid_line_of_secrets_env_is_reported_without_its_value(tmp_path, keep):
    keep("HF_TOKEN=x\nHF_TOKN=canary\ncanary\n")

    second, third = wrong_secrets({}, tmp_path)

    assert "line 2" in second
    assert "line 3" in third
    assert "canary" not in second + third


def test_a_missing_secret_file_is_reported(tmp_path):
    (sentence,) = wrong_secrets({"HF_TOKEN_FILE": str(tmp_path / "missing")}, tmp_path)

    assert sentence.startswith("HF_TOKEN_FILE names ")
