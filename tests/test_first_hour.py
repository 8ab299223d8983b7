"""Follows docs/first-hour.md: its commands in order, with a local hub and a local Discord."""

import asyncio
import contextlib
import os
import re
import shlex
import shutil
from io import BytesIO

import pytest
from PIL import Image

from bot.safety import SafetySettings, classifier_spec
from composition.settings import ROOT, shipped_models
from tests.cli.platform_servers import DISCORD_TOKEN
from tests.commands import assert_exists
from tests.discord.loopback.server import loopback
from tests.discord.simulated_users import SimulatedUser, until
from tests.fork_server import client
from tests.hub.server import serve_hub
from tests.inference.tiny import save_classifier, save_diffusion

PAGE = (ROOT / "docs" / "first-hour.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
OURS = [words[1:] for words in COMMANDS if words and words[0] == "easel"]
SMALL = """
[storage]
min_free_mb = 0
[safety]
threshold = 1.0
[devices]
use = "cpu"
[pool]
nice = 0
[models.sd-turbo]
ram_mb = 100
memory_mb = 100
download_mb = 1
width = 64
height = 64
[models.blip2-flan-t5-xl]
ram_mb = 100
memory_mb = 100
download_mb = 1
"""


def test_the_twelve_steps_are_there():
    assert [int(number) for number in re.findall(r"^## (\d+)\. ", PAGE, re.MULTILINE)] == list(range(1, 13))


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_every_command_and_option_on_it_exists(words):
    assert_exists(words)


def test_every_sentence_that_it_quotes_is_one_that_easel_says():
    told = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("bot", "adapters", "inference")
        for path in (ROOT / folder).rglob("*.py")
    )
    told = re.sub(r'"\s*\n\s*f?"', "", told)  # a sentence over several lines
    quoted = [one for row in re.findall(r"^\| (.*?) \|", PAGE, re.MULTILINE) for one in re.findall(r'"(.+?)"', row)]

    assert len(quoted) > 12
    assert [one for one in quoted if one not in told] == []


# ---------------------------------------------------------------- the run itself


@pytest.fixture
def hub(tmp_path):
    """Small versions of the presets' repositories."""
    presets = shipped_models()
    classifier = classifier_spec(SafetySettings()).repo
    with serve_hub() as hub:
        hub.add(presets["sd-turbo"].repo, save_diffusion(tmp_path / "sd"), licence="sai-nc-community")
        blip = shutil.copytree(ROOT / "models" / "starter-vision", tmp_path / "blip")
        hub.add(presets["blip2-flan-t5-xl"].repo, blip, licence="mit")
        hub.add(classifier, save_classifier(tmp_path / "judge"), licence="apache-2.0")
        yield hub


@pytest.fixture
def environ(tmp_path, hub):
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "config.toml").write_text(SMALL)
    clean = {name: value for name, value in os.environ.items() if not re.search("TOKEN|proxy|EASEL", name, re.I)}
    return {
        **clean,
        "EASEL_DATA_DIR": str(tmp_path / "data"),
        "EASEL_POOL__NICE": "0",  # beside other tests, a polite engine would hardly get its turn
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "PYTHONPATH": str(ROOT),
    }


async def run(words, environ, folder, forks=client.REAL_START):
    """Run one command of the page; returns its output."""
    command = [str(ROOT / "main.py"), *words]
    done = await asyncio.to_thread(client.run, command, forks, env=environ, cwd=folder, timeout=120)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


@contextlib.asynccontextmanager
async def served(environ, folder, forks):
    command = [str(ROOT / "main.py"), "serve", "--port", "0"]
    with (folder / "serve.txt").open("ab") as output:
        process = client.start(command, forks, env=environ, cwd=folder, output=output)
    try:
        yield process
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)


def command(*start):
    (found,) = [words for words in OURS if words[: len(start)] == list(start)]
    return found


def size_of(data):
    return Image.open(BytesIO(data)).size


def said_in(message):
    return message.content.splitlines()[0]


@pytest.mark.slow
async def test_a_newcomer_gets_from_the_clone_to_an_answer_on_discord(tmp_path, environ, hub, forks):
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "token.txt").write_text(DISCORD_TOKEN)
    async with loopback() as discord:
        discord.state.token = DISCORD_TOKEN
        discord.state.guild()
        ann = SimulatedUser(discord, discord.state.person("ann"), discord.state.channel())
        environ |= {"EASEL_DISCORD__API_BASE": discord.api_base, "EASEL_DISCORD__GATEWAY_URL": discord.gateway_url}

        written = (await run(command("imagine"), environ, folder)).strip().splitlines()[-1]
        assert size_of((folder / written).read_bytes()) == (128, 128)

        said = await run(command("setup", "--image"), environ, folder, forks)
        assert "Discord accepts the token" in said
        assert "https://discord.com/oauth2/authorize?client_id=" in said
        assert "sd-turbo is in use." in said
        assert "blip2-flan-t5-xl is in use." in said
        assert (tmp_path / "data" / "secrets.env").stat().st_mode & 0o777 == 0o600

        said = await run(command("models", "list"), environ, folder, forks)
        assert "sd-turbo" in said

        async with served(environ, folder, forks):
            await until(lambda: discord.state.commands and discord.gateway.connected, "the bot", 60)
            ann.slash("imagine", prompt="a knight at sunset", seed=3)
            picture = await ann.finished()
            assert size_of(picture.attachments[0].data) == (64, 64)
            ann.write_message("what is this?", reply_to=picture)
            answer = await ann.finished(2)

        async with served(environ, folder, forks):  # after a reboot
            await until(lambda: discord.gateway.connected, "the bot again", 60)
            ann.write_message("what is this?", reply_to=picture)
            assert said_in(await ann.finished(3)) == said_in(answer)

        (folder / "backups").mkdir()
        assert "easel-" in await run(["db", "backup", str(folder / "backups")], environ, folder, forks)
        assert "The database is intact." in await run(command("db", "check"), environ, folder, forks)
        assert discord.state.problems == []
