"""Batches and grids as JSON."""

from typing import Any

from adapters.web.views import MEDIA_URL, job_json
from bot.usecases import BatchView
from bot.usecases.grid_names import name_cells

BATCHES_URL = "/api/v1/batches/"


def batch_json(view: BatchView) -> dict[str, Any]:
    """The body of `GET /batches/{id}`."""
    there = {ticket.job.id for ticket in view.tickets}
    axes = view.grid.axes if view.grid is not None else ()
    cells = view.grid.cells if view.grid is not None else ()
    names = name_cells(view.grid) if view.grid is not None else {}
    return {
        "batch": view.id,
        "kind": view.kind,
        "jobs": [job_json(ticket) for ticket in view.tickets],
        **sheets_json(view),
        "axes": [
            {
                "axis": axis.name,
                "option": axis.option,
                "title": axis.title,
                "values": list(axis.values),
                "labels": list(axis.labels),
            }
            for axis in axes
        ],
        "cells": [
            {
                "x": cell.x,
                "y": cell.y,
                "z": cell.z,
                "name": names[cell.job],
                "job": cell.job if cell.job in there else None,
            }
            for cell in cells
        ],
    }


def sheets_json(view: BatchView) -> dict[str, Any]:
    """`sheet` and `sheets`."""
    sheets = [
        {
            "id": image.id,
            "url": f"{MEDIA_URL}{image.id}",
            "media_type": image.media_type,
            "width": image.width,
            "height": image.height,
            "alt": image.alt,
            "spoiler": image.is_spoiler,
            "z": sheet.z,
        }
        for sheet, image in zip(view.sheets, view.judged_sheets(), strict=True)
    ]
    return {"sheet": sheets[0]["id"] if sheets else None, "sheets": sheets}
