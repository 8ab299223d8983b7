"""Draws the sheets of a grid: which pictures and labels are where, for the image tool `grid_sheet`."""

from dataclasses import dataclass

from bot.jobs import Media


@dataclass(frozen=True, kw_only=True)
class SheetDrawing:
    """One drawn sheet. `z`: the place of its value on the third axis. `pictures`: by the job's id, the id of its
    picture that is on it."""

    z: int
    media: Media
    width: int
    height: int
    alt: str
    pictures: dict[str, str]
