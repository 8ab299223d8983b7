"""Messages of a conversation as questions about images: what is asked last, about which images, and what it follows.

Both APIs for texts send whole conversations. A model that chats reads what it answered before, which this server keeps:
each earlier question is found again by its hash. Any other model gets the last question and the last image alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from adapters.openai.image_inputs import read_image
from adapters.web.client_calls import ClientCall
from bot import usecases
from bot.commands import Ask, Caption
from bot.commands.ask import MAX_ASKED, MAX_QUESTION, chats
from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.models import ModelSpec
from bot.options import BYTES_PER_CHARACTER, clean_text

MAX_TURNS = 8
"""Earlier questions that are looked for."""
_TEXTS = frozenset({"text", "input_text", "output_text"})
_IMAGES = frozenset({"image_url", "input_image"})
_INSTRUCTIONS = frozenset({"system", "developer"})


@dataclass(kw_only=True)
class ChatTurn:
    """What the person sent, and what was answered.

    Attributes:
        said: the texts as they were sent.
        text: all of them, cleaned; of a turn that is long past, "".
        images: as they were sent.
    """

    said: list[str] = field(default_factory=list)
    text: str = ""
    images: list[str] = field(default_factory=list)
    answer: str = ""


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """`has_instructions`: there were system messages, which no model here reads."""

    turns: Sequence[ChatTurn]
    has_instructions: bool


def read_conversation(messages: Any, param: str) -> Conversation:
    """`messages`: a list of objects with `role` and `content`. Raises: InvalidOption."""
    if not isinstance(messages, list) or not messages:
        raise InvalidOption(param, "body", allowed="it must be a list of messages")
    turns: list[ChatTurn] = []
    has_instructions = False
    for message in messages:
        if not isinstance(message, dict):
            raise InvalidOption(param, "body", allowed="each message must be an object")
        role = str(message.get("role"))
        if role in _INSTRUCTIONS:
            has_instructions = True
        elif role == "user":
            _add_to_turn(turns, message.get("content"), param)
        elif role == "assistant" and turns:
            turns[-1].answer = _text_of(message.get("content"), param)
    if not turns:
        raise InvalidOption(param, "body", allowed="there must be a message of the role user")
    for turn in turns[-MAX_TURNS - 1 :]:
        turn.text = _joined(turn.said)
    return Conversation(turns=turns, has_instructions=has_instructions)


def _add_to_turn(turns: list[ChatTurn], content: Any, param: str) -> None:
    """Several messages in a row are one turn."""
    if not turns or turns[-1].answer:
        turns.append(ChatTurn())
    turn = turns[-1]
    for part in _parts_of(content, param):
        kind = str(part.get("type"))
        if kind in _TEXTS:
            turn.said.append(_string(part.get("text"), param))
        elif kind in _IMAGES:
            turn.images.append(_image_of(part))
        else:
            raise InvalidOption(param, "body", allowed="messages may have texts and images")


def _joined(said: Iterable[str]) -> str:
    """Cleaned, unless it is too long for any model, which takes long to clean and is refused."""
    text = " ".join(filter(None, said))
    return text if len(text) > BYTES_PER_CHARACTER * MAX_QUESTION else clean_text(text)


def _text_of(content: Any, param: str) -> str:
    return "".join(str(part.get("text", "")) for part in _parts_of(content, param) if str(part.get("type")) in _TEXTS)


def _parts_of(content: Any, param: str) -> Iterable[Mapping[str, Any]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return content
    raise InvalidOption(param, "body", allowed="content must be a text or a list of parts")


def _string(value: Any, param: str) -> str:
    if not isinstance(value, str):
        raise InvalidOption(param, "body", allowed="text must be a text")
    return value


def _image_of(part: Mapping[str, Any]) -> str:
    """`{"image_url": {"url": ...}}`, `{"image_url": "..."}`, or `{"file_id": ...}` with the id of an image here."""
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    source = url if url is not None else part.get("file_id")
    return source if isinstance(source, str) else ""


async def build_request(
    call: ClientCall,
    conversation: Conversation,
    options: Mapping[str, Any],
    model: ModelSpec | None,
    param: str,
) -> usecases.Request:
    """The request for the last turn, which follows the earlier ones if the model reads them. Raises: InvalidOption."""
    does_chat = model is not None and chats(model)
    turns = conversation.turns[-MAX_TURNS - 1 :] if does_chat else conversation.turns[-1:]
    shown = _images_by_turn(conversation.turns, is_together=does_chat)[-len(turns) :]
    refs = await store_images(call, (source for images in shown for source in images), param)
    parent = None
    for turn, sources in list(zip(turns, shown, strict=True))[:-1]:
        earlier = _turn_request(call, turn, _refs_of(sources, refs), options, parent)
        parent = await _find_answer(call, earlier, turn.answer)
    images = _refs_of(shown[-1], refs)
    if not images and not (does_chat and turns[-1].text):
        raise InvalidOption(param, "needs_shown_image")
    return _turn_request(call, turns[-1], images, options, parent)


def _refs_of(sources: Iterable[str], refs: Mapping[str, ImageRef]) -> list[ImageRef]:
    """Each image once."""
    return list(dict.fromkeys(refs[source] for source in sources))


def _images_by_turn(turns: Sequence[ChatTurn], *, is_together: bool) -> list[list[str]]:
    """What each turn is about: the images of the turn, else of the one before; `is_together`: all so far."""
    shown: list[list[str]] = []
    for turn in turns:
        before = shown[-1] if shown else []
        shown.append([*before, *turn.images] if is_together else (turn.images or before))
    return shown


async def store_images(call: ClientCall, sources: Iterable[str], param: str) -> dict[str, ImageRef]:
    """Each image once, by how it was sent. Raises: InvalidOption, MediaNotFound."""
    once = list(dict.fromkeys(sources))
    if len(once) > MAX_ASKED:  # before so many are decoded
        raise InvalidOption("images", "too_many_images", value=len(once), allowed=str(MAX_ASKED))
    return {source: ImageRef((await read_image(call, source, param)).id) for source in once}


def _turn_request(
    call: ClientCall, turn: ChatTurn, images: Sequence[ImageRef], options: Mapping[str, Any], parent: str | None
) -> usecases.Request:
    if not turn.text:
        return call.to_request(Caption.name, options, images)
    question = {"question": turn.text, **options}
    return call.to_request(Ask.name, question, images, parent=parent, allows_no_image=True)


async def _find_answer(call: ClientCall, request: usecases.Request, answer: str) -> str | None:
    """The job that gave the answer to an earlier turn; None: this server does not know it."""
    job = await call.find_answered(request)
    text = (job.result.text or "").strip() if job is not None and job.result is not None else ""
    return job.id if job is not None and answer.strip() and text.startswith(answer.strip()) else None
