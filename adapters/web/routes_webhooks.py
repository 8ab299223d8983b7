"""`/api/v1/admin/webhooks`: which webhooks there are, how far their events are, and sending one a test event."""

from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from adapters.web.auth import require_admin
from adapters.web.context import ContextDep
from adapters.web.schemas import ProblemInfo

router = APIRouter(prefix="/api/v1", responses={"4XX": {"model": ProblemInfo}})
_ADMIN = Depends(require_admin)


class WebhookInfo(BaseModel):
    name: str
    host: str | None = Field(description="Where events go, without the path; null: it is not in the config any more")
    sent: int
    pending: int
    undeliverable: int = Field(description="Events that were given up, or whose job was erased")
    oldest_s: float = Field(description="Age of the oldest pending event, seconds")
    last_problem: str = Field(description="Why the oldest pending event was not accepted; empty: it was not refused")


class WebhookList(BaseModel):
    webhooks: list[WebhookInfo]


class WebhookTest(BaseModel):
    accepted: bool
    problem: str = Field(description="Why it was not accepted, such as HTTP 500; empty: it was")


@router.get("/admin/webhooks", tags=["admin"], dependencies=[_ADMIN], response_model=WebhookList)
async def list_webhooks(context: ContextDep) -> Any:
    """The webhooks of the config, and those that events are left for, with the number of their events."""
    states = await context.usecases.operations.list_webhooks()
    return {"webhooks": [vars(state) for state in states]}


@router.post("/admin/webhooks/{name}/test", tags=["admin"], dependencies=[_ADMIN], response_model=WebhookTest)
async def test_webhook(name: str, context: ContextDep) -> Any:
    """Send the webhook an event `webhook.test` now, once, and wait up to 15 seconds for the answer."""
    problem = await context.usecases.operations.test_webhook(name)
    return {"accepted": not problem, "problem": problem}
