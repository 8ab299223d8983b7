"""`/api/v1/link`: the accounts of the caller, one-time codes that link them, and unlinking."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from adapters.web.auth import CallerDep
from adapters.web.bodies import read_json
from adapters.web.context import ContextDep
from adapters.web.parameters import body_of
from adapters.web.schemas import LinkBody, LinkCodeInfo, LinkedAccountsInfo, LinkInfo, ProblemInfo
from bot.errors import NotFound
from bot.ports import LinkedAccount, LinkResult, LinkSide

_BODY = body_of("LinkBody")
_MAX_NAME = 255

router = APIRouter(prefix="/api/v1", tags=["about"], responses={"4XX": {"model": ProblemInfo}})


@router.get("/link", response_model=LinkedAccountsInfo)
async def list_linked_accounts(context: ContextDep, caller: CallerDep) -> Any:
    """The accounts that are the caller's."""
    return _accounts_json(await context.usecases.links.list_accounts(caller.person))


@router.post("/link", response_model=LinkCodeInfo | LinkInfo, openapi_extra=_BODY)
async def link_accounts(request: Request, response: Response, context: ContextDep, caller: CallerDep) -> Any:
    """Without a code: a new one, to type on another account with `/link`. With one: link the account that it was given
    to, or with `confirm: false` say what would be linked."""
    body, links = await read_json(request, LinkBody), context.usecases.links
    response.headers["Cache-Control"] = "no-store"
    if body.code is None:
        code = await links.create_code(caller.person)
        response.status_code = 201
        return {"code": code.text, "expires_at": code.expires_at}
    account = f"web:{caller.key}"
    act = links.link if body.confirm else links.preview
    return _link_json(await act(caller.person, account, body.code), is_linked=body.confirm)


@router.delete("/link/{platform}", response_model=LinkedAccountsInfo)
async def unlink_accounts(
    platform: str,
    context: ContextDep,
    caller: CallerDep,
    account: Annotated[str | None, Query(description="Only this one of several", max_length=_MAX_NAME)] = None,
) -> Any:
    """The caller's accounts on this chat platform become new persons without history; the caller keeps everything."""
    if len(platform) > _MAX_NAME:
        raise NotFound("account", platform[:40])
    await context.usecases.links.unlink(caller.person, platform, account)
    return _accounts_json(await context.usecases.links.list_accounts(caller.person))


def _accounts_json(accounts: Any) -> dict[str, Any]:
    return {"accounts": [_account_json(one) for one in accounts]}


def _account_json(account: LinkedAccount) -> dict[str, Any]:
    return {"platform": account.platform, "name": account.name, "account": account.account_id}


def _link_json(result: LinkResult, *, is_linked: bool) -> dict[str, Any]:
    return {
        "linked": is_linked,
        "yours": _side_json(result.own),
        "other": _side_json(result.other),
        "used": result.used,
        "limit": result.limit,
    }


def _side_json(side: LinkSide) -> dict[str, Any]:
    return {
        **_accounts_json(side.accounts),
        "jobs": side.jobs,
        "pictures": side.pictures,
        "used": side.used,
        "limit": side.limit,
    }
