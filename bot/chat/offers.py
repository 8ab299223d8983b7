"""Offers under a person's own words: a button that imagines, edits or asks, so that nothing is charged unasked.

A button carries no text: what it is about is the message that the offer replies to.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from bot.chat import texts
from bot.chat.buttons import OFFER_ID, Button
from bot.chat.drawing_request import drawing_prompt
from bot.chat.question_detector import is_question
from bot.commands import Ask, Edit, Imagine
from bot.i18n import N_
from bot.models import IMAGE_TEXT_TO_IMAGE, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelRegistry
from bot.options import clean_excerpt

ONLY_EDIT = N_("Should I edit the picture like that?")
SHALL_I_DRAW = N_("Should I make a picture of this: {prompt}?")


@dataclass(frozen=True)
class ButtonOffer:
    text: str
    buttons: tuple[Button, ...]


def offer_drawing(text: str, models: ModelRegistry, locale: str) -> ButtonOffer | None:
    """For a text that asks for a picture. None: it does not, or no model can."""
    prompt = drawing_prompt(text)
    if not prompt or models.default_for(TEXT_TO_IMAGE) is None:
        return None
    sentence = texts.format_text(SHALL_I_DRAW, locale, prompt=clean_excerpt(prompt, texts.MAX_QUOTED_PROMPT))
    return ButtonOffer(sentence, (Button("pick", OFFER_ID, 1),))


def offer_for_image(text: str, models: ModelRegistry, locale: str) -> ButtonOffer | None:
    """For a picture with a sentence that is no question. None: no model can edit or answer."""
    if not text or is_question(text):
        return None
    edit = (Button("edit", OFFER_ID),) if models.default_for(IMAGE_TEXT_TO_IMAGE) is not None else ()
    ask = (Button("ask", OFFER_ID),) if models.default_for(VISUAL_QUESTION_ANSWERING) is not None else ()
    if not edit and not ask:
        return None
    sentence = texts.EDIT_OR_ASK if edit and ask else ONLY_EDIT if edit else texts.ONLY_ASK
    return ButtonOffer(texts.format_text(sentence, locale), (*edit, *ask))


def offer_key(platform: str, message_ref: str, account_id: str, button: Button) -> str:
    """The idempotency key of all presses of this button by this account: one offer makes one job for each person.

    It names nobody: keys are kept when a person is forgotten.
    """
    press = f"{message_ref} {account_id} {button.encode()}"
    return f"{platform}:offer:{hashlib.sha256(press.encode()).hexdigest()}"


def offered_request(button: Button, text: str) -> tuple[str, Mapping[str, str]] | None:
    """The command and the options that a button of an offer stands for. None: the text is gone."""
    match button.action:
        case "edit" if text:
            return Edit.name, {"prompt": text}
        case "ask" if text:
            return Ask.name, {"question": text}
        case "pick" if prompt := drawing_prompt(text):
            return Imagine.name, {"prompt": prompt}
    return None
