"""The pictures that people send: files of any type, stickers, previews of links, forwarded messages."""

import json
from types import SimpleNamespace
from typing import Any

import discord
import pytest

from adapters.discord.attachments import AttachmentFetcher, AttachmentUnavailable
from adapters.discord.event_parsing import UNKNOWN_AUTHOR, attached_images, text_for_bot
from tests.discord.app_fixture import DiscordApp
from tests.discord.loopback.discord_server_state import Message
from tests.discord.simulated_users import SimulatedUser
from tests.discord.test_conversation import a_photo
from tests.web.fake_pool import picture

STATE: Any = SimpleNamespace(http=None)
PROXY = "https://images-ext-1.discordapp.net/external/x/https/example.org/fox.png"


def attachment(name: str, content_type: str | None) -> discord.Attachment:
    data: Any = {"id": "1", "filename": name, "size": 9, "url": f"https://cdn.discordapp.com/{name}", "proxy_url": "x"}
    return discord.Attachment(data=data | ({"content_type": content_type} if content_type else {}), state=STATE)


def sticker(kind: int) -> discord.StickerItem:
    return discord.StickerItem(state=STATE, data={"id": 5, "name": "fox", "format_type": kind})  # type: ignore[typeddict-item]


def embed(**parts: Any) -> discord.Embed:
    return discord.Embed.from_dict({"type": "image", "url": "https://example.org/fox.png", **parts})


def message(*files: discord.Attachment, content: str = "", **more: Any) -> Any:
    plain = {"stickers": [], "embeds": [], "message_snapshots": [], "author": SimpleNamespace(id=5), **more}
    return SimpleNamespace(attachments=list(files), content=content, **plain)


@pytest.mark.parametrize(
    ("name", "content_type", "is_picture"),
    [
        ("fox.png", "image/png", True),
        ("fox", None, True),
        ("fox.png", "application/octet-stream", True),
        ("IMG_1", "application/octet-stream", True),
        ("fox.HEIC", "text/plain; charset=utf-8", True),
        ("book.pdf", "application/pdf", False),
        ("fox.mp4", "video/mp4", False),
    ],
)
def test_a_files_type_is_what_its_bytes_say(name: str, content_type: str | None, is_picture: bool) -> None:
    assert bool(attached_images(message(attachment(name, content_type)))) is is_picture


@pytest.mark.parametrize(("content_type", "is_tried"), [("text/plain", True), ("video/mp4", False)])
def test_a_question_is_about_any_file(content_type: str, is_tried: bool) -> None:
    file = message(attachment("fox.txt", content_type))

    assert bool(attached_images(file, any_file=True)) is is_tried
    assert attached_images(file) == ()


@pytest.mark.parametrize(("kind", "ending"), [(1, ".png"), (2, ".png"), (4, ".gif"), (3, None)])
def test_a_sticker_is_a_picture_unless_it_is_an_animation_in_json(kind: int, ending: str | None) -> None:
    images = attached_images(message(stickers=[sticker(kind)]))

    assert [one.url.endswith(ending or "") for one in images] == ([True] if ending else [])


@pytest.mark.parametrize(
    ("parts", "url"),
    [
        ({"image": {"url": "https://example.org/a.png", "proxy_url": PROXY}}, PROXY),
        ({"thumbnail": {"url": "https://example.org/a.png", "proxy_url": PROXY}}, PROXY),
        ({"image": {"url": "https://example.org/a.png"}}, None),
        ({"image": {"url": "https://example.org/a.png", "proxy_url": 5}}, None),
        ({"video": {"url": "https://example.org/a.mp4", "proxy_url": PROXY}}, None),
        ({}, None),
    ],
)
def test_of_a_link_only_discords_own_copy_is_taken(parts: dict[str, Any], url: str | None) -> None:
    images = attached_images(message(embeds=[embed(**parts)]))

    assert [one.url for one in images] == ([url] if url else [])


@pytest.mark.parametrize(("content", "is_spoiler"), [("||https://example.org||", True), ("https://example.org", False)])
def test_the_preview_of_a_hidden_link_stays_hidden(content: str, is_spoiler: bool) -> None:
    hidden = message(embeds=[embed(image={"url": "x", "proxy_url": PROXY})], content=content)

    assert [one.spoiler for one in attached_images(hidden)] == [is_spoiler]


def test_what_is_attached_comes_before_the_links_beside_it() -> None:
    both = message(attachment("fox.png", "image/png"), embeds=[embed(image={"url": "x", "proxy_url": PROXY})])

    assert [one.filename for one in attached_images(both)] == ["fox.png"]


@pytest.mark.parametrize(
    "content",
    [
        {"files": [attachment("fox", None)]},
        {"stickers": [sticker(1)]},
        {"embeds": [embed(image={"url": "x", "proxy_url": PROXY})]},
    ],
    ids=["file", "sticker", "link"],
)
def test_forwarded_pictures_belong_to_nobody_known(content: dict[str, Any]) -> None:
    snapshot = message(*content.pop("files", ()), **content)

    assert [one.author for one in attached_images(message(message_snapshots=[snapshot]))] == [UNKNOWN_AUTHOR]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/fox.png",
        "http://images-ext-1.discordapp.net/x",
        "https://images-ext-1.discordapp.net.example.org/x",
        "https://cdn.discordapp.com@example.org/x",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://images-ext-3.discordapp.net/x",
        "https://cdn.discordapp.com:8443/x",
        "https://cdn.discordapp.com:99999/x",
        "https://a:b@cdn.discordapp.com/x",
        "https://example.org\\@cdn.discordapp.com/x",
        "https://[::1]/x",
        "https://[::1",
        "data:image/png;base64,AAAA",
        "",
    ],
)
async def test_nothing_but_discords_own_media_servers_is_asked(url: str) -> None:
    with pytest.raises(AttachmentUnavailable, match="not Discord's"):
        await AttachmentFetcher().fetch(url, 10)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<@7>, draw a cat", "draw a cat"),
        ("<@!7>: draw a cat", "draw a cat"),
        ("draw a cat <@7>", "draw a cat"),
        ("<@&9>, draw a cat", "draw a cat"),
        ("<@7> draw <@8> as a cat", "draw @Ben\\1 as a cat"),
        ("<@7> draw <@&10>", "draw <@&10>"),
    ],
)
def test_a_text_to_the_bot_has_no_ids_of_people(content: str, text: str) -> None:
    guild = SimpleNamespace(self_role=SimpleNamespace(mention="<@&9>"))
    mentions = [SimpleNamespace(id=7, display_name="Easel"), SimpleNamespace(id=8, display_name="Ben\\1")]

    assert text_for_bot(message(content=content, guild=guild, mentions=mentions), 7) == text


# ---------------------------------------------------------------- the whole path


async def test_a_reply_to_a_link_is_about_its_preview(app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser) -> None:
    app.server.state.may_read_content = True
    copy = app.server.state.file("copy", picture(3, 48, 32)).url
    shown = [
        {"type": "image", "url": "https://example.org/x", "thumbnail": {"url": "https://x.org", "proxy_url": copy}}
    ]
    posted: Message = bob.write_message("https://example.org/x", mention=False, extra={"embeds": shown})
    ann.write_message("what is it?", reply_to=posted)

    assert "what is it?" in (await ann.finished()).content
    assert "x.org" not in json.dumps([one.path for one in app.server.state.calls])


async def test_a_file_that_is_asked_about_is_judged_by_its_bytes(app: DiscordApp, ann: SimulatedUser) -> None:
    photo = a_photo(app.server, "notes.txt")
    photo.content_type = "text/plain"
    ann.write_message("what is it?", photo)

    assert "what is it?" in (await ann.finished()).content


async def test_a_slash_commands_file_is_judged_by_its_bytes(app: DiscordApp, ann: SimulatedUser) -> None:
    photo = a_photo(app.server, "notes.pdf")
    photo.content_type = "application/pdf"
    ann.slash("caption", image=photo)

    assert "picture" in (await ann.finished()).content


async def test_a_link_whose_preview_comes_later_is_waited_for(
    app: DiscordApp, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.discord.messages.PREVIEW_WAIT_S", 0.05)
    copy = app.server.state.file("copy", picture(3, 48, 32)).url
    there = ann.in_channel(app.server.state.dm(ann.person))
    sent = there.write_message("https://example.org/x")
    sent.extra["embeds"] = [{"type": "image", "url": "https://example.org/x", "image": {"url": "x", "proxy_url": copy}}]

    assert "picture" in (await there.finished()).content


async def test_the_option_mask_is_a_mask_in_any_order(app: DiscordApp, ann: SimulatedUser) -> None:
    files = {"image": a_photo(app.server, seed=3), "mask": a_photo(app.server, seed=4)}
    ann.slash("imagine", prompt="a hat", mask=files["mask"], image=files["image"])
    message = await ann.finished()
    job = await app.storage.jobs.get_job(message.button("reroll").split(":")[2], None)

    assert sorted(one.role for one in job.images) == ["init", "mask"]
