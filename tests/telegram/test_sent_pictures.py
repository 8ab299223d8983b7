"""The pictures that people send: files of any type, stickers, forwarded and quoted ones, albums of files."""

import io
import time
from typing import Any

import pytest
from PIL import Image
from telegram import Message, User

from adapters.telegram.message_parsing import UNKNOWN_AUTHOR, IncomingMessage, parse_album, parse_message
from tests.telegram.easel_fixture import text_of
from tests.web.fake_pool import picture

ME = User(7, "Easel", is_bot=True, username="EaselTestBot")
ANN = {"id": 5, "is_bot": False, "first_name": "Ann"}
BEN = {"id": 6, "is_bot": False, "first_name": "Ben"}
PRIVATE, GROUP = {"id": 5, "type": "private"}, {"id": -100, "type": "supergroup", "title": "Friends"}
FILE = {"file_id": "f", "file_unique_id": "u", "file_size": 9}
PHOTO = {"photo": [{**FILE, "width": 9, "height": 9}]}
STICKER = {**FILE, "type": "regular", "width": 512, "height": 512, "is_animated": False, "is_video": False}
FOX = picture(3, 48, 32)


def message(chat: Any = PRIVATE, number: int = 1, **content: Any) -> Message:
    made = Message.de_json({"message_id": number, "date": int(time.time()), "chat": chat, "from": ANN, **content}, None)
    assert made is not None
    return made


def parse(chat: Any = PRIVATE, **content: Any) -> IncomingMessage | None:
    return parse_message(message(chat, **content), ME)


def document(mime: str | None, name: str | None) -> dict[str, Any]:
    said = {"mime_type": mime, "file_name": name}
    return {"document": {**FILE, **{key: one for key, one in said.items() if one is not None}}}


@pytest.mark.parametrize(
    ("mime", "name", "is_picture", "is_picture_if_asked"),
    [
        ("image/png", "fox.png", True, True),
        (None, None, True, True),
        (None, "fox", True, True),
        ("", "fox.png", True, True),
        ("application/octet-stream", "IMG_0001", True, True),
        ("application/pdf", "fox.PNG", True, True),
        ("text/plain", "fox.heic", True, True),
        ("IMAGE/JPEG; charset=x", "fox", True, True),
        ("application/pdf", "book.pdf", False, True),
        ("text/plain", "notes.txt", False, True),
        ("video/mp4", "fox.mp4", False, False),
        ("audio/ogg", "fox.ogg", False, False),
    ],
)
def test_a_files_type_is_what_its_bytes_say(mime, name, is_picture, is_picture_if_asked):
    plain, asked = parse(**document(mime, name)), parse(**document(mime, name), caption="/caption")

    assert plain
    assert asked
    assert bool(plain.photos) is is_picture
    assert plain.is_unreadable is not is_picture
    assert bool(asked.photos) is is_picture_if_asked


@pytest.mark.parametrize(
    ("words", "command"), [("what is it?", "ask"), ("caption", "caption"), ("make it blue", ""), ("", "")]
)
def test_words_that_are_a_command_are_about_any_file(words, command):
    parsed = parse(**document("text/plain", "fox.txt"), caption=words)
    film = parse(**document("video/mp4", "fox.mp4"), caption=words)

    assert parsed
    assert film
    assert (parsed.command, len(parsed.photos), parsed.is_unreadable) == (command, bool(command), not command)
    assert film.photos == ()


@pytest.mark.parametrize("mime", ["application/pdf", "text/plain"])
@pytest.mark.parametrize(("command", "takes_it"), [("caption", True), ("ask what is it?", True), ("imagine x", False)])
def test_a_reply_to_any_file_is_about_it_if_the_command_needs_a_picture(mime, command, takes_it):
    replied = {"message_id": 3, "date": 1, "chat": GROUP, "from": BEN, **document(mime, "x.pdf")}
    parsed = parse(GROUP, text=f"/{command}", reply_to_message=replied)

    assert parsed
    assert bool(parsed.replied_photos) is takes_it


@pytest.mark.parametrize(
    ("more", "is_picture"), [({}, True), ({"is_animated": True}, False), ({"is_video": True}, False)]
)
def test_a_sticker_that_does_not_move_is_a_picture(more, is_picture):
    sticker = {"sticker": STICKER | more}
    replied = {"message_id": 3, "date": 1, "chat": GROUP, "from": BEN, **sticker}
    asked = parse(GROUP, text="/caption", reply_to_message=replied)

    assert asked
    assert bool(asked.replied_photos) is is_picture


@pytest.mark.parametrize("chat", [PRIVATE, GROUP], ids=["private", "group"])
def test_a_sticker_alone_is_a_remark(chat):
    bots = {"message_id": 3, "date": 1, "chat": chat, "from": {"id": ME.id, "is_bot": True, "first_name": "Easel"}}
    parsed = parse(chat, sticker=STICKER, reply_to_message=bots)

    assert parsed
    assert (parsed.command, parsed.photos, parsed.is_unreadable) == ("", (), True)


@pytest.mark.parametrize("words", ["@EaselTestBot, caption", "@easeltestbot: caption", "@EaselTestBot caption"])
def test_the_comma_after_the_bots_name_belongs_to_the_name(words):
    mention = [{"type": "mention", "offset": 0, "length": 13}]
    with_photo = parse(GROUP, **PHOTO, caption=words, caption_entities=mention)
    alone = parse(GROUP, text=words.replace("caption", "draw a cat"), entities=mention)

    assert with_photo
    assert alone
    assert (with_photo.command, alone.text) == ("caption", "draw a cat")


ORIGINS = [
    ({"type": "user", "date": 1, "sender_user": BEN}, "6"),
    ({"type": "hidden_user", "date": 1, "sender_user_name": "Ben"}, UNKNOWN_AUTHOR),
    ({"type": "channel", "date": 1, "chat": {"id": -9, "type": "channel", "title": "C"}, "message_id": 1}, "-9"),
    ({"type": "chat", "date": 1, "sender_chat": {"id": -8, "type": "group", "title": "G"}}, "-8"),
]


@pytest.mark.parametrize(("origin", "author"), ORIGINS)
@pytest.mark.parametrize("content", [PHOTO, document("", "fox")], ids=["photo", "file"])
def test_what_is_forwarded_or_quoted_from_another_chat_remains_its_authors(origin, author, content):
    forwarded = parse(**content, forward_origin=origin, caption="look")
    quoted = parse(GROUP, text="/caption", external_reply={"origin": origin, **content})

    assert forwarded
    assert quoted
    assert [one.author for one in forwarded.photos] == [author]
    assert [one.author for one in quoted.replied_photos] == [author]


@pytest.mark.parametrize("is_hidden", [True, False])
def test_a_hidden_photo_that_is_quoted_from_another_chat_stays_hidden(is_hidden):
    quoted = {"origin": ORIGINS[0][0], **PHOTO, **({"has_media_spoiler": True} if is_hidden else {})}
    parsed = parse(GROUP, text="/caption", external_reply=quoted)

    assert parsed
    assert parsed.has_spoiler is is_hidden


@pytest.mark.parametrize(
    "more",
    [
        {"reply_to_story": {"id": 4, "chat": GROUP}},
        {"quote": {"text": "a fox", "position": 0}},
        {"external_reply": {"origin": ORIGINS[0][0], "story": {"id": 4, "chat": GROUP}}},
        {"link_preview_options": {"url": "https://example.org/fox.png"}},
    ],
    ids=lambda one: next(iter(one)),
)
def test_stories_quotes_and_links_carry_no_picture_that_a_bot_gets(more):
    parsed = parse(GROUP, text="/caption https://example.org/fox.png", **more)

    assert parsed
    assert (parsed.photos, parsed.replied_photos) == ((), ())


def test_an_album_of_files_is_one_request_whatever_their_types():
    parts = [
        message(number=number, media_group_id="g", **document(mime, "x"), **({"caption": words} if words else {}))
        for number, (mime, words) in enumerate([("", "/caption"), ("application/pdf", ""), ("image/png", "")], 1)
    ]
    album = parse_album(parts, ME)

    assert album
    assert (album.command, len(album.photos)) == ("caption", 3)


# ---------------------------------------------------------------- the whole path


def webp() -> bytes:
    made = io.BytesIO()
    Image.open(io.BytesIO(FOX)).save(made, "WEBP")
    return made.getvalue()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_file_is_described_by_its_bytes(app, chat, ann):
    app.state.send_message(chat, ann, document=app.state.document(webp(), "fox.txt", "text/plain"), caption="/caption")
    app.pool.go_on.set()

    await app.message_with(chat, "picture")


@pytest.mark.asyncio(loop_scope="module")
async def test_a_file_that_is_no_picture_is_refused_in_a_sentence(app, chat, ann):
    app.state.send_message(
        chat, ann, document=app.state.document(b"%PDF-1.4 x", "a.png", "image/png"), caption="/caption"
    )

    assert "PDF" in text_of(await app.bot_message(chat))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_sticker_is_described(app, group, ann):
    sticker = {**app.state.keep_file(webp()), **{k: v for k, v in STICKER.items() if "file" not in k}}
    sent = app.state.send_message(group, ann, sticker=sticker)
    app.state.send_message(group, ann, "/caption", reply_to=sent)
    app.pool.go_on.set()

    await app.message_with(group, "picture")


# ---------------------------------------------------------------- masks


def plain(colour: str, size: tuple[int, int] = (48, 32)) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, colour).save(made, "PNG")
    return made.getvalue()


async def masked_job(app: Any, chat: Any, number: int = 1) -> Any:
    placeholder = await app.bot_message(chat, number)
    job = await app.storage.jobs.get_job(app.state.button(placeholder, "cancel").split(":")[2], None)
    app.pool.go_on.set()
    return job


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("shape", ["an album", "a reply to a result"])
async def test_a_mask_is_sent_with_its_picture_or_in_reply_to_it(app, group, ann, bob, shape):
    words, mask = "/imagine a slow hat --mask --seed 7", plain("white")
    of_result = plain("white", (64, 64))
    if shape == "an album":
        app.state.album(group, ann, [FOX, mask], words)
        job = await masked_job(app, group)
    else:
        app.state.send_message(group, ann, "/imagine a fox")
        app.pool.go_on.set()
        made = await app.finished_picture(group)
        app.pool.go_on.clear()
        app.state.send_photo(group, ann, of_result, words, reply_to=made)
        job = await masked_job(app, group, 2)

    assert [one.role for one in job.images] == ["init", "mask"]
    assert job.images[0].id != job.images[1].id
    assert (job.options["prompt"], job.options["seed"]) == ("a slow hat", 7)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_mask_without_its_picture_is_refused_with_what_to_do(app, chat, ann):
    app.state.send_photo(chat, ann, FOX, "/imagine a hat --mask")

    assert "reply to the picture with the mask" in text_of(await app.bot_message(chat))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_mask_that_selects_nothing_is_refused_before_it_costs_anything(app, chat, ann):
    app.state.album(chat, ann, [FOX, plain("black")], "/imagine a hat --mask")

    assert "selects nothing" in text_of(await app.bot_message(chat))
    person = await app.storage.people.identify_account("telegram", str(ann["id"]), "")
    assert (await app.application.usecases.jobs.list_tickets(person, limit=5))[0] == []
