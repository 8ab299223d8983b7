"""Nothing that came through AUTOMATIC1111's API, and nothing made from it, enters training."""

import pytest

from tests.sdapi.sd_client import PICTURE, draw, post
from tests.training_sources import assert_nothing_enters_training

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_no_way_in_leads_to_training(server, client):
    await post(client, "interrogate", {"image": PICTURE})
    unit = {"image": PICTURE, "module": "canny"}
    await draw(client, "img2img", init_images=[PICTURE], alwayson_scripts={"controlnet": {"args": [unit]}})
    await post(client, "extra-single-image", {"image": PICTURE, "upscaling_resize": 2})
    await client.post("/controlnet/detect", json={"controlnet_module": "canny", "controlnet_images": [PICTURE]})
    person = await server.usecases.people.local_person()

    sources = await assert_nothing_enters_training(server.application, person)

    assert sources == {"sdapi"}
