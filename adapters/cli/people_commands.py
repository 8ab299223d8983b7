"""`easel people`: who uses this Easel, and blocking them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.cli.key_commands import run_with_admin_client
from adapters.cli.options import CONFIG, DATA_DIR, JSON, make_group
from adapters.cli.output import print_json, print_line, print_note, print_table, program_name
from adapters.cli.session import Session

if TYPE_CHECKING:
    from adapters.cli.client.types import AdminClient

PERSON = Annotated[str, typer.Argument(metavar="PERSON", help="A name, or an id from `people list`")]


def people_group(session: Session) -> typer.Typer:
    people = make_group()
    _add_list(people, session)
    _add_block(people, session)
    _add_unblock(people, session)
    return people


def _add_list(people: typer.Typer, session: Session) -> None:
    @people.command("list", help="List the people, the newest first, 100 at most")
    def listing(
        words: Annotated[str, typer.Argument(metavar="[WORDS]", help="A part of a name, or an account's id")] = "",
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        async def work(client: "AdminClient") -> int:
            _print_people(await client.list_people(words), as_json=as_json)
            return 0

        return run_with_admin_client(session, config, data_dir, work)


def _add_block(people: typer.Typer, session: Session) -> None:
    @people.command(help="Refuse what a person asks for from now on, and cancel their open jobs")
    def block(person: PERSON, as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        async def work(client: "AdminClient") -> int:
            return await _set_blocked(client, person, is_blocked=True, as_json=as_json)

        return run_with_admin_client(session, config, data_dir, work)


def _add_unblock(people: typer.Typer, session: Session) -> None:
    @people.command(help="Accept a blocked person's requests again")
    def unblock(person: PERSON, as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        async def work(client: "AdminClient") -> int:
            return await _set_blocked(client, person, is_blocked=False, as_json=as_json)

        return run_with_admin_client(session, config, data_dir, work)


async def _set_blocked(client: "AdminClient", text: str, *, is_blocked: bool, as_json: bool) -> int:
    changed = await client.set_blocked(await _find_id(client, text), is_blocked=is_blocked)
    if as_json:
        print_json(changed)
    elif not is_blocked:
        print_line(f"Unblocked {changed['name']}.")
    else:
        jobs = len(changed["cancelled"])
        ended = f", and cancelled {jobs} job{'' if jobs == 1 else 's'}" if jobs else ""
        print_line(f"Blocked {changed['name']} on all linked accounts{ended}.")
    return 0


async def _find_id(client: "AdminClient", text: str) -> str:
    """The id of the only person with this id or name. Raises: Failure."""
    from adapters.cli.error_output import Failure

    found = [one for one in await client.list_people(text) if text in (one["id"], one["name"])]
    if len(found) == 1:
        return str(found[0]["id"])
    hint = f"`{program_name()} people list` shows everybody"
    if not found:
        raise Failure(f"There is nobody called {text!r}: {hint}.", code="not_found")
    ids = ", ".join(one["id"] for one in found)
    raise Failure(f"Several people are called {text!r}: give one of the ids {ids} ({hint}).", code="invalid_option")


def _print_people(people: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"people": people})
        return
    if not people:
        print_note("Nobody was found.")
        return
    rows = [
        (
            one["id"],
            one["name"],
            ", ".join(f"{account['platform']} {account['account']}" for account in one["accounts"]),
            str(one["jobs"]),
            "blocked" if one["blocked"] else "active",
        )
        for one in people
    ]
    print_table(("Id", "Name", "Accounts", "Jobs", "Status"), rows)
