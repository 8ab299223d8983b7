"""Messages: replies to what the bot said, questions about pictures, mentions."""

from adapters.discord import actions, texts
from adapters.discord.events import PLATFORM
from adapters.discord.rendering import is_spoiler
from adapters.discord.responder import Turn
from adapters.discord.views import view_of
from bot.chat import texts as chat_texts
from bot.chat.buttons import Button
from bot.chat.question_detector import is_question
from bot.jobs import Job
from bot.models import IMAGE_TEXT_TO_IMAGE


async def act(turn: Turn) -> None:
    """A message's own pictures come first: whoever sends one along means that one."""
    event = turn.event
    if event.options.get("own"):
        await _about_pictures(turn)
        return
    job = await turn.desk.usecases.chat.of_message(PLATFORM, event.target) if event.target else None
    if job is not None:
        await _about_job(turn, job)
    elif event.pictures:
        await _about_pictures(turn)
    elif event.target:
        await _about_unseen(turn)
    else:
        await turn.say(chat_texts.say_text(chat_texts.HINT, event.locale))


async def _about_pictures(turn: Turn) -> None:
    """Words ask, no words want to know what it is."""
    event = turn.event
    person = await turn.desk.person(event)
    images = await turn.desk.upload(person, event.pictures)
    if event.text:
        await actions.submit(turn, person, "ask", {"question": event.text}, images)
    else:
        await actions.submit(turn, person, "caption", {}, images)


async def _about_job(turn: Turn, job: Job) -> None:
    """To ask again about the same picture, at any depth; a wish about a picture of ours might mean two things."""
    event = turn.event
    if not await turn.desk.usecases.chat.pictures_of(job):
        await turn.say(chat_texts.say_text(texts.NOTHING_TO_ASK_ABOUT, event.locale))
        return
    if not event.text:
        await turn.say(chat_texts.say_text(chat_texts.HINT, event.locale))
        return
    made_pictures = job.result is not None and bool(job.result.media)
    if made_pictures and not is_question(event.text):
        await _offer(turn, job)
        return
    person = await turn.desk.person(event)
    origin = event.origin(spoiler=is_spoiler(job))
    tickets = await turn.desk.usecases.chat.ask(person, origin, job.id, event.text, key=event.job_key)
    await actions.accepted(turn, tickets)


async def _offer(turn: Turn, job: Job) -> None:
    """Edit or Ask; the words stand in the message that this one answers."""
    can_edit = turn.desk.usecases.models.default_for(IMAGE_TEXT_TO_IMAGE) is not None
    buttons = [Button("edit", job.id)] if can_edit else []
    view = view_of([*buttons, Button("ask", job.id)], turn.event.locale)
    said = chat_texts.EDIT_OR_ASK if can_edit else chat_texts.ONLY_ASK
    await turn.say(chat_texts.say_text(said, turn.event.locale), view=view)


async def _about_unseen(turn: Turn) -> None:
    """A reply to somebody else's message whose pictures Discord does not show to bots; or which has none."""
    pictures = await turn.desk.pictures_at(turn.event.target, may_be_none=True)
    if pictures:
        person = await turn.desk.person(turn.event)
        images = await turn.desk.upload(person, pictures)
        question = {"question": turn.event.text} if turn.event.text else {}
        await actions.submit(turn, person, "ask" if question else "caption", question, images)
        return
    menu = chat_texts.say_text(texts.ASK_ABOUT, turn.event.locale)
    await turn.say(chat_texts.say_text(texts.HIDDEN_PICTURE, turn.event.locale, menu=menu))
