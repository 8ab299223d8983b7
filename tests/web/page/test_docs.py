"""The API's documentation in a real browser."""

import pytest
from playwright.async_api import expect

from tests.web.page.conftest import find_violations

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]


async def test_the_api_docs_work_offline(server, tab):
    await tab.page.goto(f"{server.url}/docs")

    await expect(tab.page.locator("#operations")).to_contain_text("/api/v1/jobs/{job_id}/events")
    await expect(tab.page.locator("#invalid_option")).to_contain_text("422")
    assert "[object" not in await tab.page.locator("main").inner_text()
    assert await find_violations(tab.page) == []
    assert tab.errors == []
