"""`setup`: asks or reads options, checks the answers, and writes nothing before everything is answered."""

import json
import os
import stat
import subprocess
import sys
import tomllib
from io import StringIO

import pytest

from adapters.cli.error_output import Failure
from adapters.cli.setup import bot_tokens, prompt
from adapters.cli.setup.wizard import CONFIG_TEMPLATE, MODEL_KINDS, SECRETS_TEMPLATE
from bot.settings import read_secrets, write_secrets
from composition.local import Composition
from composition.settings import ROOT
from tests.cli.platform_servers import APPLICATION, DISCORD_TOKEN, TELEGRAM_TOKEN, open_platforms

GPU = {
    "devices": [
        {"name": "cuda:0", "kind": "cuda", "title": "NVIDIA RTX", "memory_mb": 12000},
        {"name": "cpu", "kind": "cpu", "title": "CPU", "memory_mb": 32000},
    ]
}
CPU = {"devices": GPU["devices"][1:]}


class TestComposition(Composition):
    __test__ = False

    devices = CPU

    def probe_devices(self):
        return self.devices


class ScriptedPrompter:
    """Gives its answers in turn, then Ctrl-C."""

    def __init__(self, *answers):
        self.answers, self.questions = list(answers), []

    def ask(self, question, default=""):
        self.questions.append(question)
        if not self.answers:
            raise KeyboardInterrupt
        return self.answers.pop(0) or default

    def secret(self, question):
        return self.ask(question)

    def confirm(self, question, *, default=False):
        return self.ask(question, "y" if default else "n") == "y"


@pytest.fixture
def platforms(monkeypatch):
    with open_platforms() as server:
        monkeypatch.setenv("EASEL_DISCORD__API_BASE", f"{server.url}/api/v10")
        monkeypatch.setenv("EASEL_TELEGRAM__API_BASE", f"{server.url}/bot")
        yield server


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path / "data"))
    for name in ("DISCORD_TOKEN", "TELEGRAM_BOT_TOKEN", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "data"


@pytest.fixture
def composition(platforms, data_dir):
    return TestComposition()


@pytest.fixture
def installed(monkeypatch):
    """The requested installations; nothing is installed."""
    requests = []

    async def install(composition, loaded, request, confirm):
        requests.append(request)
        if request.name == "sdxl":
            raise Failure("The disk is full: make room.")
        return {"name": request.name}

    monkeypatch.setattr("adapters.cli.models.install.install_model", install)
    return requests


@pytest.fixture
def answer(call, monkeypatch):
    """Call `setup` with scripted answers."""

    def run_setup(*answers, flags=()):
        prompter = ScriptedPrompter(*answers)
        monkeypatch.setattr(prompt, "find_prompter", lambda: prompter)
        result = call("setup", *flags)
        return result, prompter

    return run_setup


def settings(data_dir):
    return tomllib.loads((data_dir / "config.toml").read_text())


# ---------------------------------------------------------------- without a terminal


def test_without_a_terminal_it_creates_files_and_shows_recommendations_and_options(call, data_dir, installed):
    result = call("setup")

    assert result.code == 0, result.err
    assert "Device cpu" in result.out
    assert "blip2-flan-t5-xl (recommended)" in result.out
    assert "--discord-token-file" in result.out
    assert str(data_dir / "secrets.env") in result.out
    assert (data_dir / "config.toml").read_text() == CONFIG_TEMPLATE
    assert tomllib.loads(CONFIG_TEMPLATE) == {}
    assert read_secrets({}, data_dir).values() == ()
    assert installed == []
    assert call("models", "list").code == 0


def test_every_preset_is_offered_with_size_licence_and_seconds(call, composition):
    result = call("setup")

    wanted = {task for _, tasks in MODEL_KINDS.values() for task in tasks}
    for spec in [one for one in composition.load(None).models.presets if wanted & set(one.tasks)]:
        assert f"{spec.name}" in result.out
        assert f"{spec.download_mb / 1024:.1f} GiB download" in result.out
        for licence in spec.licences:
            assert licence in result.out
    assert "Not for commercial use." in result.out
    assert "per request" in result.out


def test_options_answer_every_question(call, data_dir, platforms, installed, tmp_path):
    (tmp_path / "d").write_text(f" Bot {DISCORD_TOKEN}\n")
    (tmp_path / "t").write_text(f"TELEGRAM_BOT_TOKEN='{TELEGRAM_TOKEN}'\n")
    result = call(
        *("setup", "--image", "sd15-lcm", "--vision", "none", "--accept-licence", "sd15-lcm", "--json"),
        *("--discord-token-file", str(tmp_path / "d"), "--telegram-token-file", str(tmp_path / "t")),
        *("--discord-admin", "80351110224678912", "--telegram-admin", "123456789"),
    )

    assert result.code == 0, result.err
    body = json.loads(result.out)
    assert body["models"] == [{"name": "sd15-lcm", "in_use": True, "error": ""}]
    assert body["bots"]["discord"]["name"] == "Fox"
    assert f"client_id={APPLICATION}&" in body["bots"]["discord"]["invite"]
    assert body["bots"]["telegram"]["invite"] == "https://t.me/fox_bot"
    assert [(request.name, request.accept_licence) for request in installed] == [("sd15-lcm", True)]
    kept = read_secrets({}, data_dir)
    assert (kept.discord_token, kept.telegram_token) == (DISCORD_TOKEN, TELEGRAM_TOKEN)
    assert settings(data_dir)["discord"]["admins"] == ["80351110224678912"]
    assert settings(data_dir)["telegram"]["admins"] == ["123456789"]
    assert len(platforms.asked) == 2
    for token in (DISCORD_TOKEN, TELEGRAM_TOKEN):
        assert token not in result.out + result.err


def test_yes_installs_the_recommended_models(call, composition, installed):
    composition.devices = GPU
    result = call("setup", "--yes")

    assert result.code == 0, result.err
    recommended = [line.split()[1] for line in result.out.splitlines() if "(recommended)" in line]
    assert [request.name for request in installed] == recommended
    assert (len(recommended), recommended[1]) == (2, "qwen3-vl-4b")
    assert "It chats: several images in a question" in result.out
    assert not any(request.accept_licence for request in installed)


def test_no_download_installs_nothing(call, installed):
    result = call("setup", "--image", "sd-turbo", "--no-download")

    assert installed == []
    assert "`easel models use sd-turbo`" in result.out


def test_a_failed_installation_does_not_stop_the_other_one(call, installed):
    result = call("setup", "--image", "sdxl", "--vision", "blip2-flan-t5-xl")

    assert result.code == 1
    assert "The disk is full: make room." in result.err
    assert "`easel models use sdxl` tries again" in result.out
    assert "blip2-flan-t5-xl is in use." in result.out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--image", "sd-turbbo"), "sd-turbbo is not a model for images: choose z-image-turbo,"),
        (("--image", "blip2-flan-t5-xl"), "is not a model for images"),
        (("--discord-admin", "fox#1234"), "fox#1234 is not an account id, which is a number"),
        (("--discord-token-file", "/no/such/file"), "/no/such/file cannot be read"),
    ],
)
def test_an_invalid_option_is_reported_and_nothing_is_written(call, data_dir, installed, flags, says):
    result = call("setup", *flags)

    assert result.code == 2
    assert says in result.err
    assert not (data_dir / "config.toml").exists()
    assert not (data_dir / "secrets.env").exists()


def test_a_model_that_does_not_fit_is_not_installed(call, composition, installed):
    composition.devices = {"devices": [{"name": "cuda:0", "kind": "cuda", "title": "Old", "memory_mb": 1000}]}
    result = call("setup", "--image", "sdxl")

    assert result.code == 2
    assert "does not fit this machine" in result.err
    assert "`easel models use sdxl --force`" in result.err


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("platform", "pasted", "says"),
    [
        ("discord", APPLICATION, "application's id"),
        ("discord", "a" * 64, "public key"),
        ("discord", "AbCdEfGhIjKlMnOpQrStUvWxYz012345", "client secret"),
        ("discord", TELEGRAM_TOKEN, "Telegram bot token"),
        ("discord", "hf_abcdefgh", "Hugging Face"),
        ("discord", "https://discord.com/oauth2/authorize?client_id=1", "address"),
        ("telegram", "110201543", "first half"),
        ("telegram", "@fox_bot", "bot's name"),
        ("telegram", DISCORD_TOKEN, "Discord bot token"),
        ("telegram", "Use this token", "no spaces"),
    ],
)
def test_common_mistakes_are_recognised(platform, pasted, says):
    problem = bot_tokens.find_token_problem(platform, bot_tokens.clean_token(platform, pasted))

    assert says in problem
    assert ("Reset Token" if platform == "discord" else "@BotFather") in problem


@pytest.mark.parametrize(
    ("platform", "pasted", "token"),
    [
        ("discord", f'  "{DISCORD_TOKEN}"\n', DISCORD_TOKEN),
        ("discord", f"DISCORD_TOKEN={DISCORD_TOKEN}", DISCORD_TOKEN),
        ("discord", f"bot {DISCORD_TOKEN}", DISCORD_TOKEN),
        ("telegram", f"bot{TELEGRAM_TOKEN}", TELEGRAM_TOKEN),
        ("telegram", f"token: {TELEGRAM_TOKEN}", f"token: {TELEGRAM_TOKEN}"),
    ],
)
def test_what_is_copied_along_with_a_token_is_removed(platform, pasted, token):
    assert bot_tokens.clean_token(platform, pasted) == token


@pytest.mark.parametrize("platform", ["discord", "telegram"])
def test_a_rejected_token_is_not_stored(call, data_dir, tmp_path, platform):
    wrong = {"discord": DISCORD_TOKEN[:-1] + "x", "telegram": TELEGRAM_TOKEN[:-1] + "x"}[platform]
    (tmp_path / "t").write_text(wrong)
    result = call("setup", f"--{platform}-token-file", str(tmp_path / "t"))

    assert result.code == 2
    assert "rejects this token" in result.err
    assert wrong not in result.err
    assert not (data_dir / "secrets.env").exists()


def test_a_token_is_stored_if_its_platform_is_unreachable(call, data_dir, platforms, tmp_path):
    platforms.is_away = True
    (tmp_path / "t").write_text(DISCORD_TOKEN)
    result = call("setup", "--discord-token-file", str(tmp_path / "t"))

    assert result.code == 0
    assert "could not be reached to check the token" in result.out
    assert read_secrets({}, data_dir).discord_token == DISCORD_TOKEN


def test_a_token_is_read_from_stdin(call, data_dir, monkeypatch):
    monkeypatch.setattr("sys.stdin", StringIO(f"{DISCORD_TOKEN}\n"))
    assert call("setup", "--discord-token-file", "-").code == 0
    assert read_secrets({}, data_dir).discord_token == DISCORD_TOKEN

    monkeypatch.setattr("sys.stdin", StringIO(""))
    assert "is empty" in call("setup", "--discord-token-file", "-").err


def test_the_permissions_are_those_in_the_docs():
    page = (ROOT / "docs" / "discord.md").read_text()

    assert bot_tokens.INVITE.format(id="APPLICATION_ID", permissions=sum(bot_tokens.PERMISSIONS.values())) in page
    for name, value in bot_tokens.PERMISSIONS.items():
        assert f"| {name} | {value} |" in page


# ---------------------------------------------------------------- with a terminal


def test_a_conversation_from_end_to_end(answer, data_dir, installed):
    result, prompter = answer(
        *("99", "sd-turbo", "none"),
        *(APPLICATION, DISCORD_TOKEN, ""),
        *("fox", "80351110224678912, 80351110224678913"),
        "",
    )

    assert result.code == 0, result.err
    assert "99 is not a model for images" in result.err
    assert "This is the application's id" in result.err
    assert f"Invite it to a server: {bot_tokens.INVITE[:40]}" in result.out
    assert "fox is not an account id" in result.err
    assert [request.name for request in installed] == ["sd-turbo"]
    assert read_secrets({}, data_dir).discord_token == DISCORD_TOKEN
    assert settings(data_dir)["discord"]["admins"] == ["80351110224678912", "80351110224678913"]
    assert not any("Admins of Easel on Telegram" in question for question in prompter.questions)


def test_enter_keeps_every_value_on_the_second_run(answer, data_dir, installed):
    answer("none", "none", DISCORD_TOKEN, TELEGRAM_TOKEN, "80351110224678912", "")
    before = {path: path.read_bytes() for path in data_dir.glob("*.*") if path.is_file()}
    result, _ = answer("none", "none", "", "", "", "")

    assert result.code == 0, result.err
    assert "Discord accepts the token; the bot is Fox." in result.out
    assert {path: path.read_bytes() for path in before} == before


def test_with_a_real_model_there_is_no_hint_about_real_images(call, data_dir):
    assert "Real images:" in call("setup").out
    (data_dir / "config.toml").write_text("[models.sd-turbo]\nenabled = true\n")

    assert "Real images:" not in call("setup").out


def test_a_dash_deletes_a_token(answer, data_dir):
    answer("none", "none", DISCORD_TOKEN, TELEGRAM_TOKEN, "", "")
    answer("none", "none", "-", "", "")

    assert read_secrets({}, data_dir).values() == (TELEGRAM_TOKEN,)


def test_a_token_in_a_variable_overrides_and_is_not_asked_for(answer, data_dir, monkeypatch):
    monkeypatch.setenv("DISCORD_TOKEN", DISCORD_TOKEN)
    result, prompter = answer("none", "none", "", "")

    assert "DISCORD_TOKEN is set and overrides" in result.out
    assert not any("Discord bot token" in question for question in prompter.questions)


def test_an_interruption_changes_nothing(answer, data_dir):
    result, _ = answer("sd-turbo", "none", DISCORD_TOKEN)

    assert result.code == 130
    assert "Nothing was changed." in result.err
    assert not (data_dir / "secrets.env").exists()
    assert not (data_dir / "config.toml").exists()


def test_declining_the_download_prints_the_command(answer, installed):
    result, _ = answer("sd-turbo", "none", "", "", "n")

    assert installed == []
    assert "`easel models use sd-turbo` installs it" in result.out


def test_over_ssh_it_explains_how_to_open_the_page(call, monkeypatch):
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")

    assert "`ssh -L 8000:127.0.0.1:8000 " in call("setup").out


# ---------------------------------------------------------------- files


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_only_the_owner_can_read_the_tokens(data_dir, call):
    call("setup")
    assert stat.S_IMODE((data_dir / "secrets.env").stat().st_mode) == 0o600
    path = write_secrets(data_dir, {"HF_TOKEN": "hf_x"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secrets_change_line_by_line(tmp_path):
    path = tmp_path / "secrets.env"
    path.write_text(SECRETS_TEMPLATE + "# mine\nexport DISCORD_BOT_TOKEN='old'\nHF_TOKEN=hf_x\n")
    path.chmod(0o600)
    write_secrets(tmp_path, {"DISCORD_TOKEN": "new", "HF_TOKEN": ""})

    assert read_secrets({}, tmp_path).values() == ("new",)
    assert path.read_text() == SECRETS_TEMPLATE + "# mine\nDISCORD_TOKEN=new\n"


def test_the_examples_are_valid_once_uncommented():
    shown = "\n".join(
        line[2:] for line in CONFIG_TEMPLATE.splitlines() if line.startswith("# ") and ("=" in line or "[" in line)
    )

    assert set(tomllib.loads(shown)["models"]) == {"my-sd15", "my-blip2"}


@pytest.mark.process
@pytest.mark.skipif(os.name == "nt", reason="a terminal of POSIX")
def test_at_a_terminal_a_token_is_not_shown():
    import pty

    program = (
        "from adapters.cli.setup.prompt import TerminalPrompter; prompter = TerminalPrompter();"
        "print(prompter.secret('Token'), prompter.ask('Name', 'fox'))"
    )
    control, terminal = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown = os.read(control, 100)
    while b"Token:" not in shown:
        shown += os.read(control, 100)
    os.write(control, b"my-secret\n")
    while b"Name" not in shown:
        shown += os.read(control, 100)
    os.write(control, b"\n")
    out, _ = child.communicate(timeout=10)
    os.close(control)

    assert out.split() == [b"my-secret", b"fox"]
    assert b"my-secret" not in shown
