"""`[webhooks.NAME]`: addresses, secrets from each place, and sentences that quote no secret."""

import pytest

from adapters.webhooks.settings import url_problem
from bot.errors import ConfigError
from composition.settings import load_settings

SECRET = "0123456789abcdef-quite-secret"
URL = "https://studio.example/easel"


def load(tmp_path, table, secrets_env="", **environ):
    config = tmp_path / "config.toml"
    config.write_text(table, encoding="utf-8")
    if secrets_env:
        (tmp_path / "secrets.env").write_text(secrets_env)
        (tmp_path / "secrets.env").chmod(0o600)
    return load_settings(environ={"EASEL_DATA_DIR": str(tmp_path), **environ})


def problems(tmp_path, table, **more):
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, table, **more)
    return "\n".join(raised.value.problems)


@pytest.mark.parametrize("place", ["setting", "file", "variable", "variable of a file", "secrets.env"])
def test_the_secret_comes_from_each_place_and_is_redacted_in_logs(tmp_path, place):
    (tmp_path / "hook-secret").write_text(f"{SECRET}\n")
    table = f'[webhooks.my-studio]\nurl = "{URL}"\n'
    match place:
        case "setting":
            loaded = load(tmp_path, f'{table}secret = "{SECRET}"')
        case "file":
            loaded = load(tmp_path, f'{table}secret_file = "{tmp_path / "hook-secret"}"')
        case "variable":
            loaded = load(tmp_path, table, EASEL_WEBHOOKS__MY_STUDIO__SECRET=SECRET)
        case "variable of a file":
            loaded = load(tmp_path, table, EASEL_WEBHOOKS__MY_STUDIO__SECRET_FILE=str(tmp_path / "hook-secret"))
        case _:
            loaded = load(tmp_path, table, secrets_env=f"EASEL_WEBHOOKS__MY_STUDIO__SECRET={SECRET}\n")

    webhook = loaded.settings["webhooks"]["my-studio"]
    assert (webhook.url, webhook.secret) == (URL, SECRET)
    assert SECRET in loaded.secrets.values()
    assert SECRET not in repr(webhook) + repr(loaded.secrets)


def test_a_webhook_can_be_set_up_by_variables_alone(tmp_path):
    loaded = load(tmp_path, "", EASEL_WEBHOOKS__STUDIO__URL=URL, EASEL_WEBHOOKS__STUDIO__SECRET=SECRET)

    assert loaded.settings["webhooks"]["studio"].secret == SECRET


def test_a_webhook_without_a_secret_is_refused_with_where_to_put_it(tmp_path):
    found = problems(tmp_path, f'[webhooks.my-studio]\nurl = "{URL}"')

    assert "set EASEL_WEBHOOKS__MY_STUDIO__SECRET" in found


@pytest.mark.parametrize(
    "secret",
    ['secret = "tooshort-9"', "secret = 987654321987654321", 'secret = ["tooshort-9"]', 'secrte = "tooshort-9"'],
)
def test_no_sentence_quotes_a_secret(tmp_path, secret):
    found = problems(tmp_path, f'[webhooks.studio]\nurl = "{URL}"\n{secret}')

    assert "studio" in found
    assert "tooshort" not in found
    assert "98765" not in found


def test_a_secret_file_that_cannot_be_read_is_named_once(tmp_path):
    found = problems(tmp_path, f'[webhooks.studio]\nurl = "{URL}"\nsecret_file = "/nowhere/secret"')

    assert found == (
        "webhooks.studio.secret_file names /nowhere/secret, which cannot be read: No such file or directory."
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://studio.example", "http://127.0.0.1:9000/hook?x=1", "https://[2001:db8::1]:8443/", "http://nas",
        "https://Studio.example.:8443", "http://localhost:9000/", "https://xn--bcher-kva.example/", "http://my_nas.lan/",
        "http://4you.example", "https://0x0.st/",
    ],
)  # fmt: skip
def test_these_addresses_can_be_webhooks(url):
    assert url_problem(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "", "studio.example", "ftp://studio.example", "https://", "https:///path", "https://user:word@studio.example/",
        "https://studio.example:99999/", "https://studio.example/#part", "https://studio.example/a b", "https://[::1",
        "http://127.1/", "http://0x7f.1/", "http://0177.0.0.1/", "http://2130706433/", "http://0x7f000001/",
        "http://127.0.0.1./", "http://%31%32%37.0.0.1/", "http://127.0.0.1%00.example/", "http://a..example/",
        "http://[fe80::1%25eth0]/", "http://studio.example:0/", "http://studio.example%5c.evil/", "http://.example/",
    ],
)  # fmt: skip
def test_these_are_refused_without_quoting_them(tmp_path, url):
    found = problems(tmp_path, f'[webhooks.studio]\nurl = "{url}"\nsecret = "{SECRET}"')

    assert found.startswith("webhooks.studio.url ")
    assert "word" not in found or "password" in found


@pytest.mark.parametrize(("length", "is_allowed"), [(64, True), (65, False)])
def test_a_name_is_as_long_as_requests_can_name_it(tmp_path, length, is_allowed):
    text = f'[webhooks.{"a" * length}]\nurl = "https://studio.example/"\nsecret = "{SECRET}"'
    if is_allowed:
        assert load(tmp_path, text)
    else:
        assert "is too long: it may have 64 characters." in problems(tmp_path, text)


@pytest.mark.parametrize("section", ["webhooks", "styles", "models"])
def test_a_value_where_sections_belong_is_told_how_to_write_them(tmp_path, section):
    found = problems(tmp_path, f"{section} = 5")

    assert f"{section} must be a section: write [{section}.NAME] and its keys below it." in found
