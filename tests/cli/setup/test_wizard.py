"""`setup`: asks or takes flags, checks what it is told, and writes nothing before everything is answered."""

import json
import os
import stat
import subprocess
import sys
import tomllib
from io import StringIO
from pathlib import Path

import pytest

from adapters.cli.error_output import Failure
from adapters.cli.setup import bot_tokens
from adapters.cli.setup import prompt as people
from adapters.cli.setup.wizard import CONFIG, KINDS, SECRETS
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


class Scripted:
    """Answers in turn; Ctrl-C when there is no more."""

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
    return Composition()


@pytest.fixture
def installed(monkeypatch):
    """What was to be fetched; nothing is."""
    wishes = []

    async def install(composition, loaded, wish, ask):
        wishes.append(wish)
        if wish.name == "sdxl":
            raise Failure("The disk is full: make room.")
        return {"name": wish.name}

    monkeypatch.setattr("adapters.cli.models.install.install", install)
    return wishes


@pytest.fixture
def answer(call, monkeypatch):
    """Call `setup` with somebody who answers."""

    def answering(*answers, flags=()):
        scripted = Scripted(*answers)
        monkeypatch.setattr(people, "find_person", lambda: scripted)
        said = call("setup", *flags)
        return said, scripted

    return answering


def settings(data_dir):
    return tomllib.loads((data_dir / "config.toml").read_text())


# ---------------------------------------------------------------- nobody to ask


def test_without_anybody_it_lays_out_files_says_what_suits_and_how_to_answer(call, data_dir, installed):
    said = call("setup")

    assert said.code == 0, said.err
    assert "Device cpu" in said.out
    assert "blip2-flan-t5-xl (suits this machine)" in said.out
    assert "--discord-token-file" in said.out
    assert str(data_dir / "secrets.env") in said.out
    assert (data_dir / "config.toml").read_text() == CONFIG
    assert tomllib.loads(CONFIG) == {}
    assert read_secrets({}, data_dir).values() == ()
    assert installed == []
    assert call("models", "list").code == 0


def test_every_preset_that_draws_or_writes_is_offered_with_size_licence_and_seconds(call, composition):
    said = call("setup")

    wanted = {task for _, tasks in KINDS.values() for task in tasks}
    for spec in [one for one in composition.load(None).models.presets if wanted & set(one.tasks)]:
        assert f"{spec.name}" in said.out
        assert f"{spec.download_mb / 1024:.1f} GiB to fetch" in said.out
        for licence in spec.licences:
            assert licence in said.out
    assert "Not for commercial use." in said.out
    assert "for one, until measured" in said.out


def test_flags_do_all_of_it(call, data_dir, platforms, installed, tmp_path):
    (tmp_path / "d").write_text(f" Bot {DISCORD_TOKEN}\n")
    (tmp_path / "t").write_text(f"TELEGRAM_BOT_TOKEN='{TELEGRAM_TOKEN}'\n")
    said = call(
        *("setup", "--image", "sd15-lcm", "--vision", "none", "--accept-licence", "sd15-lcm", "--json"),
        *("--discord-token-file", str(tmp_path / "d"), "--telegram-token-file", str(tmp_path / "t")),
        *("--discord-admin", "80351110224678912", "--telegram-admin", "123456789"),
    )

    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert told["models"] == [{"name": "sd15-lcm", "in_use": True, "error": ""}]
    assert told["bots"]["discord"]["name"] == "Fox"
    assert f"client_id={APPLICATION}&" in told["bots"]["discord"]["invite"]
    assert told["bots"]["telegram"]["invite"] == "https://t.me/fox_bot"
    assert [(wish.name, wish.accepts) for wish in installed] == [("sd15-lcm", True)]
    kept = read_secrets({}, data_dir)
    assert (kept.discord_token, kept.telegram_token) == (DISCORD_TOKEN, TELEGRAM_TOKEN)
    assert settings(data_dir)["discord"]["admins"] == ["80351110224678912"]
    assert settings(data_dir)["telegram"]["admins"] == ["123456789"]
    assert len(platforms.asked) == 2
    for token in (DISCORD_TOKEN, TELEGRAM_TOKEN):
        assert token not in said.out + said.err


def test_yes_takes_what_suits_the_machine(call, composition, installed):
    composition.devices = GPU
    said = call("setup", "--yes")

    assert said.code == 0, said.err
    advised = [line.split()[1] for line in said.out.splitlines() if "(suits this machine)" in line]
    assert [wish.name for wish in installed] == advised
    assert len(advised) == 2
    assert not any(wish.accepts for wish in installed)


def test_nothing_is_fetched_without_wanting_it(call, installed):
    said = call("setup", "--image", "sd-turbo", "--no-download")

    assert installed == []
    assert "`easel models use sd-turbo`" in said.out


def test_a_model_that_cannot_be_had_is_told_and_the_other_one_comes(call, installed):
    said = call("setup", "--image", "sdxl", "--vision", "blip2-flan-t5-xl")

    assert said.code == 1
    assert "The disk is full: make room." in said.err
    assert "`easel models use sdxl` tries again" in said.out
    assert "blip2-flan-t5-xl is in use." in said.out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--image", "sd-turbbo"), "sd-turbbo is no model for pictures: choose sd15-lcm,"),
        (("--image", "blip2-flan-t5-xl"), "is no model for pictures"),
        (("--discord-admin", "fox#1234"), "fox#1234 is no account's id, which is a number"),
        (("--discord-token-file", "/no/such/file"), "/no/such/file cannot be read"),
    ],
)
def test_a_wrong_flag_is_told_and_nothing_is_written(call, data_dir, installed, flags, says):
    said = call("setup", *flags)

    assert said.code == 2
    assert says in said.err
    assert not (data_dir / "config.toml").exists()
    assert not (data_dir / "secrets.env").exists()


def test_what_does_not_fit_is_not_fetched(call, composition, installed):
    composition.devices = {"devices": [{"name": "cuda:0", "kind": "cuda", "title": "Old", "memory_mb": 1000}]}
    said = call("setup", "--image", "sdxl")

    assert said.code == 2
    assert "does not fit this machine" in said.err
    assert "`easel models use sdxl --anyway`" in said.err


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    ("platform", "pasted", "says"),
    [
        ("discord", APPLICATION, "application's id"),
        ("discord", "a" * 64, "public key"),
        ("discord", "AbCdEfGhIjKlMnOpQrStUvWxYz012345", "client secret"),
        ("discord", TELEGRAM_TOKEN, "Telegram bot"),
        ("discord", "hf_abcdefgh", "Hugging Face"),
        ("discord", "https://discord.com/oauth2/authorize?client_id=1", "address"),
        ("telegram", "110201543", "first half"),
        ("telegram", "@fox_bot", "bot's name"),
        ("telegram", DISCORD_TOKEN, "Discord bot"),
        ("telegram", "Use this token", "no spaces"),
    ],
)
def test_other_things_are_known_for_what_they_are(platform, pasted, says):
    told = bot_tokens.wrong_with(platform, bot_tokens.trimmed(platform, pasted))

    assert says in told
    assert ("Reset Token" if platform == "discord" else "@BotFather") in told


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
def test_what_comes_along_with_a_copy_is_taken_off(platform, pasted, token):
    assert bot_tokens.trimmed(platform, pasted) == token


@pytest.mark.parametrize("platform", ["discord", "telegram"])
def test_a_refused_token_is_not_kept(call, data_dir, tmp_path, platform):
    wrong = {"discord": DISCORD_TOKEN[:-1] + "x", "telegram": TELEGRAM_TOKEN[:-1] + "x"}[platform]
    (tmp_path / "t").write_text(wrong)
    said = call("setup", f"--{platform}-token-file", str(tmp_path / "t"))

    assert said.code == 2
    assert "refuses this token" in said.err
    assert wrong not in said.err
    assert not (data_dir / "secrets.env").exists()


def test_a_token_is_kept_while_its_platform_is_away(call, data_dir, platforms, tmp_path):
    platforms.is_away = True
    (tmp_path / "t").write_text(DISCORD_TOKEN)
    said = call("setup", "--discord-token-file", str(tmp_path / "t"))

    assert said.code == 0
    assert "could not be asked about the token just now" in said.out
    assert read_secrets({}, data_dir).discord_token == DISCORD_TOKEN


def test_a_token_comes_from_standard_input(call, data_dir, monkeypatch):
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


# ---------------------------------------------------------------- somebody answers


def test_a_conversation_from_end_to_end(answer, data_dir, installed):
    said, scripted = answer(
        *("9", "sd-turbo", "none"),
        *(APPLICATION, DISCORD_TOKEN, ""),
        *("fox", "80351110224678912, 80351110224678913"),
        "",
    )

    assert said.code == 0, said.err
    assert "9 is no model for pictures" in said.err
    assert "This is the application's id" in said.err
    assert f"Invite it to a server: {bot_tokens.INVITE[:40]}" in said.out
    assert "fox is no account's id" in said.err
    assert [wish.name for wish in installed] == ["sd-turbo"]
    assert read_secrets({}, data_dir).discord_token == DISCORD_TOKEN
    assert settings(data_dir)["discord"]["admins"] == ["80351110224678912", "80351110224678913"]
    assert not any("Telegram accounts" in question for question in scripted.questions)


def test_enter_keeps_everything_the_second_time(answer, data_dir, installed):
    answer("none", "none", DISCORD_TOKEN, TELEGRAM_TOKEN, "80351110224678912", "")
    before = {path: path.read_bytes() for path in data_dir.glob("*.*") if path.is_file()}
    said, _ = answer("none", "none", "", "", "", "")

    assert said.code == 0, said.err
    assert "Discord takes the token; the bot is called Fox." in said.out
    assert {path: path.read_bytes() for path in before} == before


def test_whoever_has_a_real_model_is_not_told_how_to_get_one(call, data_dir):
    assert "Real pictures:" in call("setup").out
    (data_dir / "config.toml").write_text("[models.sd-turbo]\nenabled = true\n")

    assert "Real pictures:" not in call("setup").out


def test_a_token_is_forgotten_for_a_dash(answer, data_dir):
    answer("none", "none", DISCORD_TOKEN, TELEGRAM_TOKEN, "", "")
    answer("none", "none", "-", "", "")

    assert read_secrets({}, data_dir).values() == (TELEGRAM_TOKEN,)


def test_a_token_in_a_variable_wins_and_is_not_asked_for(answer, data_dir, monkeypatch):
    monkeypatch.setenv("DISCORD_TOKEN", DISCORD_TOKEN)
    said, scripted = answer("none", "none", "", "")

    assert "DISCORD_TOKEN is set, and wins" in said.out
    assert not any("Discord bot token" in question for question in scripted.questions)


def test_leaving_changes_nothing(answer, data_dir):
    said, _ = answer("sd-turbo", "none", DISCORD_TOKEN)

    assert said.code == 130
    assert "Nothing was changed." in said.err
    assert not (data_dir / "secrets.env").exists()
    assert not (data_dir / "config.toml").exists()


def test_whoever_declines_is_told_the_command(answer, installed):
    said, _ = answer("sd-turbo", "none", "", "", "n")

    assert installed == []
    assert "`easel models use sd-turbo` fetches it" in said.out


def test_over_ssh_it_says_how_to_see_the_page(call, monkeypatch):
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")

    assert "`ssh -L 8000:127.0.0.1:8000 " in call("setup").out


# ---------------------------------------------------------------- files


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_nobody_else_reads_the_tokens(data_dir, call):
    call("setup")
    assert stat.S_IMODE((data_dir / "secrets.env").stat().st_mode) == 0o600
    path = write_secrets(data_dir, {"HF_TOKEN": "hf_x"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secrets_change_line_by_line(tmp_path):
    path = tmp_path / "secrets.env"
    path.write_text(SECRETS + "# mine\nexport DISCORD_BOT_TOKEN='old'\nHF_TOKEN=hf_x\n")
    path.chmod(0o600)
    write_secrets(tmp_path, {"DISCORD_TOKEN": "new", "HF_TOKEN": ""})

    assert read_secrets({}, tmp_path).values() == ("new",)
    assert path.read_text() == SECRETS + "# mine\nDISCORD_TOKEN=new\n"


def test_the_examples_are_what_they_say_once_the_marks_are_gone():
    shown = "\n".join(
        line[2:] for line in CONFIG.splitlines() if line.startswith("# ") and ("=" in line or "[" in line)
    )

    assert set(tomllib.loads(shown)["models"]) == {"my-sd15", "my-blip2"}


@pytest.mark.skipif(os.name == "nt", reason="a terminal of POSIX")
def test_at_a_terminal_a_token_is_not_shown():
    import pty

    program = (
        "from adapters.cli.setup.prompt import Terminal as T; t = T(); print(t.secret('Token'), t.ask('Name', 'fox'))"
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
