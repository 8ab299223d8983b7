"""ADetailer's arguments, as its clients shape them."""

import pytest

from adapters.sdapi.detail_units import read_details
from adapters.sdapi.fields import SdFields
from tests.backends_required import require_backend

FACE = {"ad_model": "face_yolov8n.pt"}


@pytest.fixture
def fields():
    return SdFields({})


@pytest.mark.parametrize("arguments", [[FACE], [True, FACE], [True, True, FACE], [True, False, FACE, FACE, {}]])
def test_units_may_follow_flags(fields, arguments):
    assert read_details(arguments, fields) == {"detail": "face"}


@pytest.mark.parametrize(
    "arguments",
    [[], [False, False, FACE], [{**FACE, "ad_tab_enable": False}], [{"ad_model": "None"}], [True, True], [None]],
)
def test_it_may_be_switched_off(fields, arguments):
    assert read_details(arguments, fields) == {}
    assert fields.name_ignored() == []


def test_what_a_unit_asks_for_in_vain_is_named(fields):
    unit = {**FACE, "ad_prompt": "a smile", "ad_confidence": 0.5, "ad_steps": 9, "ad_use_cfg_scale": True}

    assert read_details([unit, {"ad_model": "nose.pt"}], fields) == {"detail": "face"}
    assert fields.name_ignored() == [
        "ADetailer 0 ad_prompt", "ADetailer 0 ad_confidence", "ADetailer 0 ad_use_cfg_scale", "ADetailer nose.pt",
    ]  # fmt: skip


def test_the_units_of_webuiapi_ask_for_nothing_else(fields):
    require_backend("webuiapi")
    import webuiapi

    assert read_details([webuiapi.ADetailer(ad_model="hand_yolov8n.pt").to_dict()], fields) == {"detail": "hands"}
    assert fields.name_ignored() == []
