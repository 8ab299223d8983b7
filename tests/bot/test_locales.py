"""Every sentence is in the template, and a catalogue changes all of what people read."""

import gettext
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from bot import error_texts, errors, i18n
from bot.chat import account_texts, help_texts, picture_texts
from bot.chat import texts as chat_texts
from bot.chat.arguments import SLASH, TYPED
from bot.chat.buttons import EXAMPLES_ID, Button
from bot.chat.commands import CHAT_COMMANDS, command_menu
from bot.commands import COMMANDS
from bot.errors import InvalidOption
from bot.jobs import JobError, JobState, Result, StoredImage
from bot.models import TASKS, ModelRegistry
from bot.ports import Progress
from bot.usecases import Quota, Ticket
from scripts.locales import TEMPLATE, collect_messages, extract_page_messages
from tests.bot.test_error_texts import KINDS, make_error
from tests.fakes import make_job, make_model

DONE = JobState.DELIVERED
PICTURE = StoredImage(id="7", media_type="image/png", width=8, height=8)
JOBS = [
    *(make_job(state=state) for state in JobState),
    make_job(state=DONE, result=Result(seed=7, notes=("7",))),
    make_job(state=DONE, command="ask", options={"question": "7?"}, result=Result(text="8", model="9")),
    make_job(state=DONE, command="describe", result=Result(text="1\n2")),
    make_job(state=DONE, command="upscale", options={}, result=Result()),
    make_job(state=JobState.FAILED, error=JobError(code="timeout", message="7")),
]
TICKETS = [
    Ticket(job=job, position=position, eta_s=eta_s) for job in JOBS for position, eta_s in ((None, None), (3, 7.0))
]
TICKETS += [
    Ticket(job=make_job(state=JobState.RUNNING), progress=Progress(step=1, steps=4), eta_s=eta) for eta in (None, 9e3)
]
TICKETS.append(Ticket(job=make_job(state=JobState.RUNNING), progress=Progress(step=1, steps=4, phase="loading")))
CONSTANTS = [
    value
    for module in (error_texts, chat_texts, help_texts)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str) and " " in value
]


_WITH_NAMES = {
    "DownloadFailed": (errors.DownloadFailed, error_texts.DOWNLOAD_PROBLEMS),
    "ModelRefused": (errors.ModelRefused, error_texts.MODEL_PROBLEMS),
}


def everything_said(locale):
    """Whatever can be said, with figures for names."""
    yield from (
        error_texts.explain(make_error(name), locale=locale) for name in KINDS if name not in (*_WITH_NAMES, "NoModel")
    )
    yield from (
        error_texts.explain(errors.NoModel(kind.name, kind.unavailable), locale=locale) for kind in COMMANDS.values()
    )
    yield from (
        error_texts.explain(errors.Blocked(reason, detail="7"), locale=locale) for reason in error_texts.BLOCKED
    )
    for kind, problems in _WITH_NAMES.values():
        yield from (error_texts.explain(kind("1", problem, detail="7"), locale=locale) for problem in problems)
    yield from (
        error_texts.explain(InvalidOption("1", problem, value=value, allowed=allowed, nearest="5"), locale=locale)
        for problem in error_texts.OPTION_PROBLEMS
        for value, allowed in ((9, "1 to 2"), ("7", "at least 3"), ([], "at most 4"), ({}, "1"), (10**999, "2"))
    )
    yield from (
        error_texts.explain(InvalidOption("1", "type", value="7", allowed=allowed), locale=locale)
        for allowed in error_texts.ALLOWED
    )
    yield from (
        error_texts.explain(errors.UnsupportedMedia(one, found="7"), locale=locale)
        for one in error_texts.MEDIA_PROBLEMS
    )
    yield from (error_texts.explain(errors.Unauthorized(one), locale=locale) for one in error_texts.UNAUTHORIZED)
    yield error_texts.explain(errors.QueueFull(limit=3, retry_after_s=4, is_global=True), locale=locale)
    yield error_texts.explain(errors.TooLarge(limit=16, unit="megapixels"), locale=locale)
    yield error_texts.explain(errors.TooLarge(limit=10, unit="MiB", heic_limit=20), locale=locale)
    yield from (
        error_texts.explain(errors.NotFound(kind, "7"), locale=locale) for kind in ("job", "picture", "key", "person")
    )
    yield from (error_texts.explain(errors.NotCancellable("7", state), locale=locale) for state in JobState)
    yield error_texts.explain(KeyError(), locale=locale)
    yield from (
        error_texts.format_note(note, locale)
        for note in (error_texts.PROMPT_TOO_LONG, "The model does not know these words: 7")
    )
    yield from _chat(locale)


def _chat(locale):
    for ticket in TICKETS:
        yield chat_texts.format_state(ticket, locale)
        yield chat_texts.format_result(ticket.job, locale)
        yield chat_texts.format_job(ticket, locale)
        yield chat_texts.format_job_line(ticket, locale)
    for some in ([], TICKETS):
        yield chat_texts.format_history(some, locale)
        yield chat_texts.format_history(some, locale, has_more=True)
        yield chat_texts.format_history(some, locale, page=2, q="7")
        yield chat_texts.format_history(some, locale, page=2, has_more=True, q="7")
        yield chat_texts.format_queue(some, locale)
    quota = Quota(limit=None, used=1.0, reserved=2.0, resets_at=datetime(2026, 1, 2, tzinfo=UTC))
    yield from (account_texts.format_quota(replace(quota, limit=limit), locale) for limit in (None, 5.0))
    yield from (
        help_texts.format_models(ModelRegistry(specs), locale) for specs in ({}, {"7": make_model(name="7", demo=True)})
    )
    yield from (account_texts.format_settings(values, locale) for values in ({}, {"7": 8}))
    yield from (help_texts.format_help(command_menu(locale), locale, style=style) for style in (TYPED, SLASH))
    yield help_texts.format_welcome(locale)
    for models in (ModelRegistry({}), ModelRegistry({"fox": make_model(tasks=TASKS)})):
        yield help_texts.format_hint(models, locale)
        yield help_texts.format_photo_hint(models, locale)
    yield picture_texts.format_original(make_job(result=Result(media=(PICTURE,))), locale)
    yield picture_texts.format_original(make_job(options={}, result=Result(media=(PICTURE,))), locale)
    yield picture_texts.format_picture(make_job(result=Result(media=(PICTURE,) * 2, seed=7)), 2, locale)
    yield chat_texts.format_text(chat_texts.REMIX_PROMPT, locale, prompt="a fox")
    yield chat_texts.format_history([], locale, q=chat_texts.FAVOURITES)
    yield chat_texts.format_undeliverable(make_job(result=Result()), locale)
    yield account_texts.format_privacy(locale)
    yield chat_texts.format_delay(7.0, locale)
    for action, _, arg in (name.partition(".") for name in chat_texts.BUTTONS):
        yield chat_texts.format_button(Button(action, "a" * 16, 2, arg), locale)
    yield chat_texts.format_button(Button("pick", EXAMPLES_ID, 1), locale)
    yield from (i18n.translator(locale)(option.help) for one in CHAT_COMMANDS.values() for option in one.options)
    yield from (chat_texts.format_text(sentence, locale) for sentence in CONSTANTS if "{" not in sentence)
    translate = i18n.translator(locale)
    yield from (translate(kind.summary) for kind in COMMANDS.values())
    yield from (translate(spec.help) for kind in COMMANDS.values() for spec in kind.specs)
    yield from (translate(task) for task in TASKS)


def in_template():
    with TEMPLATE.open("rb") as file:
        return {message.id for message in read_po(file) if message.id}


def test_the_template_has_what_the_code_says_now():
    """After changing a sentence: `make locales`."""
    assert in_template() == {message.id for message in collect_messages() if message.id}


def test_every_sentence_that_is_said_is_in_the_template(monkeypatch):
    said = set()

    def listening(_name):
        def translate(sentence):
            said.add(sentence)
            return sentence

        return translate

    monkeypatch.setattr(i18n, "_translator", listening)
    for _ in everything_said("en"):
        pass

    assert len(said) > 120
    assert said - {"", "{detail}"} <= in_template()  # what a plugin says is written by its owner


LETTER = re.compile(r"\{[^}]*\}|[A-Za-z]")


def in_xx(sentence):
    return LETTER.sub(lambda part: part[0] if part[0][0] == "{" else "\u0436", sentence)


@pytest.fixture
def xx(tmp_path, monkeypatch):
    """A made-up language whose letters are all the same, so that any English left over is seen."""
    catalog = Catalog(locale="eo")
    for message in in_template():
        plural = isinstance(message, tuple)
        catalog.add(message, tuple(map(in_xx, message)) if plural else in_xx(message))
    folder = tmp_path / "xx" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    with (folder / "easel.mo").open("wb") as file:
        write_mo(file, catalog)
    monkeypatch.setattr(i18n, "LOCALES", tmp_path)
    monkeypatch.setattr(chat_texts, "LOCALES", tmp_path)
    i18n._translator.cache_clear()
    yield "xx"
    i18n._translator.cache_clear()


DATA = re.compile(
    r"/settings \w+ default|/privacy \w+|/show [a-z2-7]{6}|\ba (?:red fox|green apple)\b|--style ink|--\w+|\bPNG\b"
    r"|/\w+|[a-z2-7]{6,16}  \w+|\ba fox\b|\d+x\d+|\bimagine\b|\bowl\b|\bask\b|\babcd\b|\bfox\b|UTC"
    r'|\{"option": "steps", "values": \[4, 8\]\}'
    r"|The port is taken|\bsteps\b|\bupscale\b|\(internal\)"
)
"""What is no sentence: commands, ids, and the words of the test's own jobs and errors."""


def test_a_catalogue_changes_everything_that_people_read(xx):
    left = {DATA.sub("", sentence) for sentence in everything_said(xx)}

    assert {sentence for sentence in left if re.search(r"[A-Za-z]{2,}", sentence)} == set()


@pytest.mark.parametrize("written", ["xx", "XX", "xx-YY", "xx_YY", "xx-Latn-YY"])
def test_a_platforms_name_for_a_language_finds_its_catalogue(xx, written):
    assert "\u0436" in account_texts.format_privacy(written)


def test_a_language_that_has_a_catalogue_is_available(xx):
    assert chat_texts.available_locales() == ["en", "xx"]


@pytest.mark.parametrize("locale", ["../xx", "xx/../xx", "", "x", "xx\0", "xx-" + "y" * 999])
def test_a_locale_never_becomes_a_path(xx, locale):
    assert account_texts.format_privacy(locale) == account_texts.format_privacy("en")


def test_gettext_is_what_reads_them(xx):
    assert isinstance(gettext.translation("easel", i18n.LOCALES, ["xx"]), gettext.GNUTranslations)


@pytest.mark.parametrize(
    ("script", "messages"),
    [
        ('t("One")', ["One"]),
        ('t("{n} of {total}", { n, total: f(1, 2) })', ["{n} of {total}"]),
        ('tn(list(1, [2, 3]).length, "{n} job", "{n} jobs", { name: t("Name") })', [("{n} job", "{n} jobs"), "Name"]),
        ('html`<p>${isShown ? html`<b title=${t("Inner")}>${t("Deep", { a: `${t("Deepest")}` })}</b>` : t("Or")}</p>`',
         ["Inner", "Deep", "Deepest", "Or"]),
        ('t("She said \\"no\\"\\u00a0twice.")', ['She said "no"\u00a0twice.']),
        ('// t("A comment")\n/** t("Another") */\nt(name); set("x"); list.t("method")', []),
    ],
)  # fmt: skip
def test_messages_of_the_page_are_found_wherever_they_are(script, messages):
    assert list(extract_page_messages(script)) == messages
