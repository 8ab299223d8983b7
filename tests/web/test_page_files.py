"""What browsers load: compressed, kept for ever, small; libraries as they came from npm."""

import gzip
import hashlib
import json
import re

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from adapters.web.page_files import STATIC, load_page_files
from adapters.web.routes_page import PAGES
from bot import i18n
from scripts.vendor import LOCK, PACKAGES, ROOT

MAX_START_BYTES = 40 * 1024
LOCKED = json.loads(LOCK.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def files():
    return load_page_files()


@pytest.mark.parametrize("folder", sorted(set(PAGES.values())))
def test_scripts_and_styles_of_the_first_view_are_small(files, folder):
    names = ("start.js", "start.css", f"{folder}.js", f"{folder}.css")

    sizes = {name: len(files.files[name].compressed) for name in names if files.has(name)}

    assert sum(sizes.values()) <= MAX_START_BYTES, sizes


def test_the_version_changes_with_each_file(tmp_path, files):
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "gallery.css").write_text("a {\n  color: red;\n}\n", encoding="utf-8")
    before = load_page_files(tmp_path)

    (tmp_path / "gallery" / "gallery.css").write_text("a {\n  color: blue;\n}\n", encoding="utf-8")

    assert load_page_files(tmp_path).version != before.version
    assert load_page_files() is files


def test_colours_are_defined_before_they_are_used(files):
    assert files.files["start.css"].content.startswith(b"@font-face")


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_are_told_apart(theme):
    """WCAG 2.2: text 4.5:1 (1.4.3), borders of controls and focus 3:1 (1.4.11), on every ground."""
    text = (STATIC / "css" / "tokens.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", text)
    colours = {name: pair[theme] for name, *pair in pairs}
    on_grounds = [(name, ground, 4.5) for name in ("text", "text-muted", "accent", "error", "success")
                  for ground in ("background", "surface", "raised")]  # fmt: skip
    borders = [("line-strong", ground, 3) for ground in ("background", "surface", "raised")]
    others = [("on-accent", "accent", 4.5), ("accent", "accent-soft", 4.5), ("error", "error-soft", 4.5),
              ("text", "hover", 4.5), ("text-muted", "hover", 4.5), ("on-accent", "accent-hover", 4.5)]  # fmt: skip

    weak = {
        (name, ground): round(found, 2)
        for name, ground, needed in [*on_grounds, *borders, *others]
        if (found := contrast(colours[name], colours[ground])) < needed
    }

    assert weak == {}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_libraries_are_as_the_lock_says(package):
    entry = LOCKED[package.name]

    found = {path: hashlib.sha256((ROOT / path).read_bytes()).hexdigest() for path in entry["files"]}

    assert (entry["version"], entry["licence"]) == (package.version, package.licence)
    assert found == entry["files"]
    assert any(path.endswith("LICENSE") for path in found)


def test_every_library_is_in_the_lock():
    locked = {ROOT / path for entry in LOCKED.values() for path in entry["files"]}

    assert {path for path in (STATIC / "vendor").rglob("*") if path.is_file()} - locked == {LOCK}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("encoding", ["gzip, br", "identity"])
async def test_files_are_sent_compressed_to_browsers_that_take_it(shared_client, files, encoding):
    async with shared_client.stream("GET", f"{files.base}start.js", headers={"accept-encoding": encoding}) as response:
        content = b"".join([part async for part in response.aiter_raw()])

    assert response.headers.get("content-encoding") == ("gzip" if "gzip" in encoding else None)
    assert response.headers["vary"] == "Accept-Encoding"
    assert (gzip.decompress(content) if "gzip" in encoding else content) == files.files["start.js"].content


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "path", ["/static/0000000000000000/start.js", "/static/{version}/../app.py", "/static/{version}/no.js"]
)
async def test_files_of_another_version_and_no_files_are_not_found(shared_client, files, path):
    response = await shared_client.get(path.format(version=files.version))

    assert response.status_code == 404


@pytest.mark.asyncio(loop_scope="module")
async def test_phones_can_install_the_page(shared_client):
    manifest = (await shared_client.get("/manifest.webmanifest")).json()

    icons = [await shared_client.get(icon["src"]) for icon in manifest["icons"]]

    assert manifest["display"] == "standalone"
    assert [icon.status_code for icon in icons] == [200] * 3


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["/gallery", "/queue", "/p/abc/1", "/edit/abc", "/models", "/admin"])
async def test_each_address_of_the_page_is_the_same_document(shared_client, path):
    response = await shared_client.get(path)

    assert response.status_code == 200
    assert '<div id="app">' in response.text


@pytest.mark.asyncio(loop_scope="module")
async def test_the_chosen_theme_comes_with_the_document(shared_client):
    dark = await shared_client.get("/", headers={"cookie": "easel-theme=dark"})
    foreign = await shared_client.get("/", headers={"cookie": 'easel-theme="><b>'})

    assert 'data-theme="dark"' in dark.text
    assert "data-theme" not in foreign.text


@pytest.mark.asyncio(loop_scope="module")
async def test_the_page_comes_in_a_language_that_has_a_catalogue(shared_client, monkeypatch, tmp_path):
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    catalogue = Catalog(locale="de")
    catalogue.add("Create", "Erstellen")
    catalogue.add(("{n} unfinished", "{n} unfinished"), ("{n} offen", "{n} offene"))
    with (folder / "easel.mo").open("wb") as file:
        write_mo(file, catalogue)
    monkeypatch.setattr(i18n, "LOCALES", tmp_path)

    german = await shared_client.get("/", headers={"accept-language": "fr, de-AT;q=0.9, en;q=0.8"})
    english = await shared_client.get("/", headers={"accept-language": "en-GB, de;q=0.8"})
    texts = (await shared_client.get("/texts/de-AT")).json()

    assert '<html lang="de-AT"' in german.text
    assert '<html lang="en"' in english.text
    assert texts == {"Create": "Erstellen", "{n} unfinished": ["{n} offen", "{n} offene"]}
    assert (await shared_client.get("/texts/xx")).json() == {}
