"""The models as cards: filters, installing with terms, cancelling, removing, adding, scanning; what others see."""

from typing import Any

import pytest
from playwright.async_api import expect

from bot.models import TEXT_TO_IMAGE
from bot.ports import CheckpointInfo, PromptAddon
from tests.storage.test_adapters import make_adapter
from tests.web.page.conftest import find_violations, measure_layout_shift

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]


def card(tab, name):
    return tab.page.locator(f".models-card[data-model='{name}']")


async def test_cards_say_what_models_are_good_for_and_are_filtered(server, tab):
    await tab.open(server.url, "/models")
    await expect(card(tab, "fox")).to_contain_text("Creates pictures from prompts.")
    await expect(card(tab, "fox")).to_contain_text("On the CPU")
    await expect(card(tab, "fox")).to_contain_text("not for commercial use")
    await expect(card(tab, "fox").get_by_role("link", name="fox-1.0")).to_have_attribute(
        "href", "https://hub.test/org/fox"
    )
    await expect(card(tab, "look")).to_contain_text("captions and answers")
    await expect(card(tab, "demo")).to_contain_text("Starter")
    await expect(tab.page.locator(".models")).not_to_contain_text("text-to-image")
    assert await find_violations(tab.page) == []
    assert await measure_layout_shift(tab.page) < 0.02

    await tab.page.get_by_role("button", name="Describe and answer").click()

    await expect(card(tab, "fox")).to_have_count(0)
    await expect(card(tab, "look")).to_be_visible()
    assert tab.page.url.endswith("?does=ask")
    await tab.page.get_by_label("Show").select_option("installed")
    await tab.page.get_by_role("button", name="Upscale").click()
    await expect(tab.page.get_by_role("heading", name="No models match these filters")).to_be_visible()
    assert await find_violations(tab.page) == []
    await tab.page.get_by_role("button", name="Show all").click()
    await expect(card(tab, "fox")).to_be_visible()
    assert tab.errors == []


async def test_a_model_is_installed_by_keys_after_its_terms(server, tab):
    hub = server.usecases.model_manager.downloads
    hub.go_on.clear()
    await tab.open(server.url, "/models?does=make")
    await tab.page.get_by_role("button", name="Use it: Fox XL").press("Enter")
    terms = tab.page.get_by_role("dialog", name="Install Fox XL")
    await expect(terms).to_contain_text("100 MiB to download")
    await expect(terms.get_by_role("link", name="Read the licence")).to_be_visible()
    assert await find_violations(tab.page) == []
    await terms.get_by_role("button", name="Accept and install").press("Enter")
    await expect(card(tab, "fox").get_by_role("progressbar")).to_be_visible()
    await expect(tab.page.get_by_role("button", name="Cancel installing Fox XL")).to_be_focused()
    await expect(card(tab, "fox")).to_contain_text("Downloading, 40 %")
    assert await find_violations(tab.page) == []
    await tab.page.get_by_role("button", name="Cancel installing Fox XL").click()
    await expect(card(tab, "fox").get_by_role("progressbar")).to_have_count(0)
    await expect(card(tab, "fox")).to_contain_text("Cancelled.")
    hub.go_on.set()

    await tab.page.get_by_role("button", name="Use it: Fox XL").click()
    await terms.get_by_text("Number format").click()
    await terms.get_by_label("Weights").select_option("fp8")
    assert await find_violations(tab.page) == []
    await terms.get_by_role("button", name="Accept and install").click()

    await expect(tab.page.locator(".toast").filter(has_text="Fox XL is ready.")).to_be_visible(timeout=8000)
    await expect(card(tab, "fox")).to_contain_text("In use")
    assert server.usecases.models.require("fox").quantize == "fp8"
    await tab.page.get_by_role("button", name="Make default: paint").click()
    await expect(card(tab, "paint")).to_contain_text("In use", timeout=8000)
    await tab.page.get_by_role("button", name="Remove Fox XL").click()
    await tab.page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(card(tab, "fox").get_by_role("button", name="Use it: Fox XL")).to_be_focused()
    assert [error for error in tab.errors if "installation/picture" not in error] == []


async def test_the_number_format_of_a_model_is_changed(server, tab):
    await tab.open(server.url, "/models?does=make&show=installed")
    await tab.page.get_by_role("button", name="Number format of paint").click()
    dialog = tab.page.get_by_role("dialog", name="Number format of paint")
    use = dialog.get_by_role("button", name="Test and use")
    await expect(use).to_be_disabled()
    await dialog.get_by_label("Weights").select_option("4bit")
    await use.click()
    await expect(dialog.get_by_role("alert")).to_contain_text("needs a denoiser in 4 bits")
    assert await find_violations(tab.page) == []

    await dialog.get_by_label("Weights").select_option("none")
    await dialog.get_by_label("Precision").select_option("bfloat16")
    await use.click()
    await expect(tab.page.locator(".toast").filter(has_text="paint is ready.")).to_be_visible(timeout=8000)

    paint = server.usecases.models.require("paint")
    assert (paint.quantize, paint.dtype) == ("none", "bfloat16")
    await tab.page.get_by_role("button", name="Number format of paint").click()
    await expect(dialog.get_by_label("Precision")).to_have_value("bfloat16")
    assert [error for error in tab.errors if "409" not in error] == []


async def test_a_model_is_compiled_switched_and_goes_back(server, tab):
    builds = server.usecases.optimizer.builds
    builds.go_on.clear()
    await tab.open(server.url, "/models?does=make&show=installed")
    faster = tab.page.get_by_role("button", name="Speed up paint")
    await faster.press("Enter")
    dialog = tab.page.get_by_role("dialog", name="Speed up paint")
    await expect(dialog).to_contain_text("nothing changes before you agree")
    assert await find_violations(tab.page) == []
    await dialog.get_by_role("button", name="Compile and try").click()
    await expect(card(tab, "paint").get_by_role("progressbar")).to_be_visible()
    await expect(card(tab, "paint")).to_contain_text("Testing, 4 of 20")
    assert await find_violations(tab.page) == []
    await tab.page.get_by_role("button", name="Cancel compiling paint").click()
    await expect(card(tab, "paint")).to_contain_text("Cancelled.")
    builds.go_on.set()

    await faster.click()
    await dialog.get_by_role("button", name="Compile and try").click()
    tried = tab.page.locator(".toast").filter(has_text="paint was compiled and tried.")
    await expect(tried).to_be_visible(timeout=8000)
    await faster.click()
    await expect(dialog.get_by_role("row", name="8 2.400 s 1.600 s 1.5 times")).to_be_visible()
    await expect(dialog).to_contain_text("Pictures differ by at most one of 256 levels.")
    assert await find_violations(tab.page) == []
    await dialog.get_by_role("button", name="Run it on OpenVINO").click()
    await expect(tab.page.locator(".toast").filter(has_text="paint runs on OpenVINO.")).to_be_visible()
    assert server.usecases.models.require("paint").backend == "openvino"
    await expect(card(tab, "paint")).to_contain_text("Runs on OpenVINO, float32, 1.5 times as fast as torch.")
    await expect(card(tab, "paint")).to_contain_text("58 MiB compiled")
    builds.stored.clear()
    await tab.page.reload()
    await expect(card(tab, "paint")).to_contain_text("Its OpenVINO build is missing: easel models optimize paint")
    await faster.click()
    await expect(dialog.get_by_role("button", name="Compile and try")).to_be_visible()
    assert await find_violations(tab.page) == []
    await dialog.get_by_role("button", name="Back to torch").click()
    await expect(tab.page.locator(".toast").filter(has_text="paint runs on torch.")).to_be_visible()
    assert server.usecases.models.require("paint").backend == "torch"
    assert tab.errors == []


async def test_what_cannot_be_installed_says_why_and_can_be_tried_again(server, tab):
    hub = server.usecases.model_manager.downloads
    hub.errors["inspect_repo"] = OSError("the hub is away")
    await tab.page.route("**/terms", lambda route: route.abort(), times=1)
    await tab.open(server.url, "/models")
    await tab.page.get_by_role("button", name="Use it: Fox XL").click()
    dialog = tab.page.get_by_role("dialog", name="Install Fox XL")
    await expect(dialog.get_by_role("alert")).to_contain_text("is not responding")
    assert await find_violations(tab.page) == []
    hub.errors.clear()
    await dialog.get_by_role("button", name="Try again").click()
    await expect(dialog).to_contain_text("100 MiB to download")
    await dialog.get_by_role("button", name="Not now").click()
    await expect(tab.page.get_by_role("button", name="Use it: Fox XL")).to_be_focused()


async def test_models_are_added_and_what_was_typed_survives_a_refusal(server, phone, tmp_path):
    await phone.open(server.url, "/models")
    await phone.page.get_by_role("button", name="Add a model").click()
    dialog = phone.page.get_by_role("dialog", name="Add a model")
    source = dialog.get_by_label("From the Hugging Face Hub, Civitai or this server")
    await source.fill("no model at all")
    await dialog.get_by_role("button", name="Add").click()
    await expect(dialog.get_by_role("alert")).to_be_visible()
    await expect(source).to_have_value("no model at all")
    assert await find_violations(phone.page) == []
    (tmp_path / "comfy").mkdir()
    (tmp_path / "comfy" / "one.safetensors").write_bytes(b"x")
    await dialog.get_by_label("All models from ComfyUI or AUTOMATIC1111").fill(str(tmp_path / "comfy"))
    await dialog.get_by_role("button", name="Scan folder").click()
    await expect(dialog.locator(".dialog-body").get_by_role("status")).to_contain_text("1 file skipped:")
    server.usecases.catalogue.files.kind = CheckpointInfo(kind="diffusers", tasks=(TEXT_TO_IMAGE,))
    await source.fill("org/owl")
    await dialog.get_by_role("button", name="Add").click()

    await expect(card(phone, "owl")).to_be_visible()
    await phone.page.get_by_role("button", name="Free memory").click()
    await expect(phone.page.locator(".toast").last).to_contain_text("Unloaded")
    assert await phone.page.evaluate("document.documentElement.scrollWidth") <= 390


async def test_loras_are_listed_and_removed(server, tab):
    addon = PromptAddon(name="ink", kind="lora", family="sdxl", size=7, trigger_words=("ink drawing",))
    server.usecases.catalogue.files.kept.append(addon)
    await tab.open(server.url, "/models")
    await expect(tab.page.get_by_role("region", name="LoRAs")).to_contain_text("ink drawing")
    await tab.page.get_by_role("button", name="Remove ink").click()
    await tab.page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(tab.page.get_by_role("region", name="LoRAs")).to_have_count(0)


async def test_starters_invite_to_a_real_model(server, tab):
    models = server.usecases.model_manager.models
    await tab.open(server.url, "/models")
    await expect(tab.page.get_by_text("These are small starter models.")).to_have_count(0)
    await tab.page.route("**/api/v1/admin/models", hide("paint"))
    await tab.page.reload()

    await tab.page.get_by_role("button", name="Choose a real model").click()

    await expect(tab.page.get_by_role("heading", name="Available")).to_be_focused()
    assert tab.page.url.endswith("?does=make&show=fits")
    assert models.require("demo").demo
    assert await find_violations(tab.page) == []
    assert tab.errors == []


def hide(name):
    async def fulfil(route):
        response = await route.fetch()
        body = await response.json()
        body["models"] = [one for one in body["models"] if one["name"] != name]
        await route.fulfill(response=response, json=body)

    return fulfil


async def test_a_list_that_cannot_be_loaded_is_offered_again(server, tab):
    await tab.page.route(
        "**/api/v1/admin/models",
        lambda route: route.fulfill(status=500, json={"detail": "It broke.", "incident": "0123abcd"}),
        times=1,
    )
    await tab.open(server.url, "/models")
    await expect(tab.page.get_by_role("alert")).to_contain_text("It broke.")
    assert await find_violations(tab.page) == []

    await tab.page.get_by_role("button", name="Try again").click()

    await expect(card(tab, "fox")).to_be_visible()


async def test_others_see_models_without_what_is_for_admins(server, phone):
    key = await server.create_key("Ann")
    await phone.page.goto(f"{server.url}/models")
    await phone.sign_in(key)
    await expect(card(phone, "paint")).to_be_visible()
    await expect(card(phone, "fox")).to_have_count(0)
    await expect(phone.page.get_by_role("button", name="Add a model")).to_have_count(0)
    await expect(card(phone, "paint").get_by_role("button")).to_have_count(0)
    assert await find_violations(phone.page) == []
    assert [error for error in phone.errors if "401" not in error] == []


async def test_adapters_are_switched_and_removed_under_their_model(server, tab):
    adapters = server.usecases.adapters
    failed: dict[str, Any] = {"gain": 8, "needed_gain": 20, "loss": 30.0, "allowed_loss": 2}
    for name, state, report in (("birds", "accepted", {}), ("bad", "rejected", failed)):
        folder = adapters.data_dir / "adapters" / name
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").touch()
        scores = {"new_before": (2, 100), "new_after": (95, 100), "old_before": (99, 100), "old_after": (98, 100)}
        report |= {which: {"right": right, "total": total} for which, (right, total) in scores.items()}
        await adapters.save_adapter(make_adapter(name, model="look", revision="", state=state, report=report), [])
    await adapters.save_adapter(make_adapter("zorp", kind="image", model="paint", state="rejected", report=failed), [])
    await tab.open(server.url, "/models")
    birds = card(tab, "look").locator("[data-adapter=birds]")
    await expect(birds).to_contain_text("New: 2 \u2192 95 of 100 \u00b7 Old: 99 \u2192 98 of 100")
    await expect(card(tab, "look").locator("[data-adapter=bad]")).to_contain_text("less than 2 are allowed")
    await expect(tab.page.get_by_role("button", name="Use bad")).to_have_count(0)
    assert await find_violations(tab.page) == []
    await tab.page.get_by_role("button", name="Use birds").click()
    await expect(birds).to_contain_text("In use")
    assert adapters.models.require("look").adapters == ("birds",)
    await tab.page.get_by_role("button", name="Switch off birds").click()
    await expect(tab.page.get_by_role("button", name="Use birds")).to_be_visible()
    assert adapters.models.require("look").adapters == ()
    await adapters.delete_adapter("zorp")
    for name in ("birds", "bad"):
        await tab.page.get_by_role("button", name=f"Remove {name}").click()
        await tab.page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        await expect(card(tab, "look").locator(f"[data-adapter={name}]")).to_have_count(0)
    assert await adapters.list_adapters() == []
    assert tab.errors == []
