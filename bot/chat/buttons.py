"""The buttons under messages, and the few bytes that they carry.

A button carries an action, a job's id and at most the number of one of its pictures, so buttons of any age work.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from bot.chat.canvas_actions import CANVAS_ARGUMENTS, offered_canvases
from bot.commands import Answer, Blend, Edit, Imagine, Pan, Preview, Square, Zoom, answer_lines, answer_of
from bot.commands.references import offers_reference
from bot.jobs import ID_ALPHABET, ID_LENGTH, Job, JobState
from bot.models import (
    IMAGE_SEGMENTATION,
    IMAGE_TEXT_TO_IMAGE,
    IMAGE_TO_IMAGE,
    REFERENCE_KINDS,
    VISUAL_QUESTION_ANSWERING,
    ModelRegistry,
)
from bot.queue.grid_message import GridMessage
from bot.usecases.job_images import picture_at

ACTIONS = (
    "cancel",
    "reroll",
    "vary",
    "upscale",
    "remix",
    "ask",
    "edit",
    "original",
    "delete",
    "show",
    "pick",
    "favourite",
    "history",
    "style",
    "subject",
    "region",
    "zoom",
    "pan",
    "square",
    "report",
)
GRID, CELL = "grid", "cell"
ARGUMENTS = {
    "vary": ("subtle", "strong"),
    "history": ("starred",),
    **dict.fromkeys(("cancel", "original", "delete"), (GRID,)),
    "show": (CELL,),
    **CANVAS_ARGUMENTS,
}
"""What may follow an action, after a dot. With `grid`, the button carries a grid's id in place of a job's; with `cell`,
the id of a cell's job."""
ARGUED = frozenset(CANVAS_ARGUMENTS)
"""Actions that need an argument."""
NUMBERED = frozenset({"pick", "history"})
"""Actions that need a number: a line of an answer, a page."""
MAX_BYTES = 64
"""Telegram's limit for what a button carries."""
MAX_PICK = 25
MAX_NUMBER = 99
EXAMPLES_ID = "welcomeexamples2"
"""Takes a job's place in the buttons of /start: `pick` then runs an example. No job has it: ids are random."""
OFFER_ID = "offeredinanswer2"
"""Takes a job's place in the buttons of an offer, which is about the message that it replies to. No job has it."""
REMIXED = (Imagine.name, Edit.name, Blend.name, Zoom.name, Pan.name, Square.name)
"""Commands that another prompt may be given."""

_BUTTON = re.compile(
    rf"v1:({'|'.join(ACTIONS)})(?:\.([a-z0-9]{{1,8}}))?:([{ID_ALPHABET}]{{{ID_LENGTH}}})(?::([1-9][0-9]?))?"
)


_COLUMN = re.compile("[a-z]+")


@dataclass(frozen=True)
class Button:
    """A button under a message of a job, or of a list of jobs.

    Attributes:
        number: which picture of the job, from 1; 0: all of them, or the first. For `pick` a line of the answer (or an
            example), for `history` a page, which begins after the job.
        arg: how the action is done: one of `ARGUMENTS`.
        label: the job's place in a list, which the button shows and does not carry.
        cell, title: the name and the values of a grid's cell, which it does not carry either.
    """

    action: str
    job_id: str
    number: int = 0
    arg: str = ""
    label: int = 0
    cell: str = ""
    title: str = ""

    @property
    def is_of_grid(self) -> bool:
        """Whether it is about a grid or one of its cells."""
        return self.arg in (GRID, CELL)

    @property
    def is_example(self) -> bool:
        return self.action == "pick" and self.job_id == EXAMPLES_ID

    @property
    def is_offer(self) -> bool:
        return self.job_id == OFFER_ID

    @property
    def makes_offer(self) -> bool:
        """Whether it makes the picture that was offered."""
        return self.is_offer and self.action == "pick"

    @property
    def shows_picture(self) -> bool:
        """Whether it shows one picture of several: U1, U2."""
        return self.action == "show" and self.number > 0

    @property
    def name(self) -> str:
        """The action with its argument: `vary.strong`."""
        return f"{self.action}.{self.arg}" if self.arg else self.action

    def encode(self) -> str:
        number = f":{self.number}" if self.number else ""
        return f"v1:{self.name}:{self.job_id}{number}"


def parse_button(data: str) -> Button | None:
    """None: forged, truncated, or of another version."""
    match = _BUTTON.fullmatch(data)
    if match is None:
        return None
    action, arg, job_id, number = match.group(1), match.group(2) or "", match.group(3), int(match.group(4) or 0)
    if (arg and arg not in ARGUMENTS.get(action, ())) or (action in ARGUED and not arg):
        return None
    if (action in NUMBERED and not number) or (action == "pick" and number > MAX_PICK):
        return None
    return Button(action, job_id, number, arg)


def offered_buttons(job: Job, models: ModelRegistry, *, picture: int = 0) -> tuple[Button, ...]:
    """The buttons for a message of the job in its present state, in this order; only what an installed model can do.

    `picture`: the message shows this one of several.
    """
    if isinstance(job, GridMessage):
        return _buttons_of_grid(job)
    if not job.state.is_final:
        return (Button("cancel", job.id),)
    if job.state not in (JobState.RENDERED, JobState.DELIVERED) or job.result is None:
        return (Button("reroll", job.id),)
    report = [Button("report", job.id, picture)] if job.origin.is_shared else []
    return (*_result_buttons(job, models, picture), *report)


def _buttons_of_grid(shown: GridMessage) -> tuple[Button, ...]:
    """Each of its pictures alone; in a server or group, each can be reported there."""
    if not shown.state.is_final:
        return (Button("cancel", shown.grid, arg=GRID),)
    cells = (
        Button("show", cell.job.id, arg=CELL, cell=cell.name, title=cell.title) for cell in shown.cells if cell.is_made
    )
    original = [Button("original", shown.grid, arg=GRID)] if shown.result and shown.result.media else []
    return (*cells, *original, Button("delete", shown.grid, arg=GRID))


def _result_buttons(job: Job, models: ModelRegistry, picture: int) -> tuple[Button, ...]:
    assert job.result is not None
    if job.command == Preview.name:
        return (Button("delete", job.id),)
    if picture:
        return _picture_buttons(job, models, picture)
    if job.result.places > 1 and job.result.media:
        return _grid_buttons(job, models)
    reroll = [Button("reroll", job.id)] if job.command != "upscale" else []
    if job.result.media:
        return (*reroll, *_picture_buttons(job, models, 0))
    if answer_of(job.command) is Answer.IMAGES:  # retention has deleted them
        return (*reroll, Button("delete", job.id))
    return _answer_buttons(job, models)


def _grid_buttons(job: Job, models: ModelRegistry) -> tuple[Button, ...]:
    """U1 to U4 show one of the pictures, V1 to V4 vary one."""
    assert job.result is not None
    numbers = [image.number for image in job.result.media]
    varied = numbers if _ways_to_vary(models, number=1) else []
    return (
        *(Button("show", job.id, number) for number in numbers),
        *(Button("vary", job.id, number) for number in varied),
        *(Button(action, job.id) for action in ("reroll", "original", "delete")),
    )


def _picture_buttons(job: Job, models: ModelRegistry, number: int) -> tuple[Button, ...]:
    """A picture alone has one way to vary it, one of several has two."""
    vary = _ways_to_vary(models, number)
    ask = _ask(job, models, number)
    remix = [Button("remix", job.id, number)] if job.command in REMIXED else []
    region = [Button("region", job.id, number)] if _can_edit_region(models) else []
    shown = picture_at(job, number)
    return (
        *(Button("vary", job.id, number, arg) for arg in vary),
        Button("upscale", job.id, number),
        *ask,
        Button("original", job.id, number),
        *remix,
        *region,
        *(Button(kind, job.id, number) for kind in REFERENCE_KINDS if offers_reference(models, kind)),
        *(Button(action, job.id, number, arg) for action, arg in offered_canvases(shown, models)),
        Button("favourite", job.id, number),
        Button("delete", job.id, number),
    )


def _can_edit_region(models: ModelRegistry) -> bool:
    """Whether words can name a part of a picture, and it can be repainted or edited."""
    can_change = (models.default_for(task) is not None for task in (IMAGE_TO_IMAGE, IMAGE_TEXT_TO_IMAGE))
    return models.default_for(IMAGE_SEGMENTATION) is not None and any(can_change)


def _ways_to_vary(models: ModelRegistry, number: int) -> Sequence[str]:
    """One without strengths, where a model only takes the picture as a reference."""
    if models.default_for(IMAGE_TO_IMAGE) is not None:
        return tuple(ARGUMENTS["vary"]) if number else ("",)
    return ("",) if models.default_for(IMAGE_TEXT_TO_IMAGE) is not None else ()


def _answer_buttons(job: Job, models: ModelRegistry) -> tuple[Button, ...]:
    assert job.result is not None
    lines = answer_lines(job.command, job.result.text)[:MAX_PICK]
    picks = (Button("pick", job.id, number) for number, _ in enumerate(lines, 1))
    return (*picks, *_ask(job, models, 0), Button("delete", job.id))


def _ask(job: Job, models: ModelRegistry, number: int) -> list[Button]:
    return [Button("ask", job.id, number)] if models.default_for(VISUAL_QUESTION_ANSWERING) else []


def group_buttons(buttons: Iterable[Button]) -> list[tuple[str, list[Button]]]:
    """The buttons that belong in rows of their own, with what they are: "show", "vary", "list", "cell", "other", or one
    of `_OWN_ROWS`."""
    return [(kind, list(group)) for kind, group in groupby(buttons, _kind_of)]


def split_cells(cells: Iterable[Button]) -> list[list[Button]]:
    """The buttons of a grid's pictures, in the rows of its sheets."""
    return [list(row) for _, row in groupby(cells, lambda button: _COLUMN.sub(" ", button.cell))]


def _kind_of(button: Button) -> str:
    if button.shows_picture:
        return "show"
    if button.action == "vary" and button.number and not button.arg:
        return "vary"
    if button.label:
        return "list"
    if button.cell:
        return CELL
    return _OWN_ROWS.get(button.action, "other")


_OWN_ROWS = {"pick": "pick", "zoom": "zoom", "square": "zoom", "pan": "pan"}
"""Kinds of rows, by action."""
