"""`easel keys`: API keys, and whether requests from this machine need one."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.cli.options import CONFIG, DATA_DIR, JSON, make_group
from adapters.cli.output import print_json, print_line, print_note, print_table, program_name
from adapters.cli.session import Session, run_until_done

if TYPE_CHECKING:
    from adapters.cli.client.types import AdminClient


def keys_group(session: Session) -> typer.Typer:
    keys = make_group()
    _add_create(keys, session)
    _add_list(keys, session)
    _add_revoke(keys, session)
    _add_unlock(keys, session)
    return keys


def _add_create(keys: typer.Typer, session: Session) -> None:
    @keys.command(help="Create an API key; it is shown only once")
    def create(
        person: Annotated[str | None, typer.Option(metavar="NAME", help="Owner of the key (default: you)")] = None,
        admin: Annotated[bool, typer.Option("--admin", help="Grant admin rights")] = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        async def work(client: "AdminClient") -> int:
            key = await client.create_key(person, is_admin=admin)
            if as_json:
                print_json(key)
            else:
                print_line(key["key"])
                print_note(
                    f"API key of {key['person']}. Store it now: it is not shown again. "
                    f"Revoke it with `{program_name()} keys revoke {key['prefix']}`."
                )
            return 0

        return run_with_admin_client(session, config, data_dir, work)


def _add_list(keys: typer.Typer, session: Session) -> None:
    @keys.command("list", help="List the API keys, without their secrets")
    def listing(as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        async def work(client: "AdminClient") -> int:
            _print_keys(await client.list_keys(), as_json=as_json)
            return 0

        return run_with_admin_client(session, config, data_dir, work)


def _add_revoke(keys: typer.Typer, session: Session) -> None:
    @keys.command(help="Revoke an API key")
    def revoke(
        prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="The part of the key before the dot")],
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        async def work(client: "AdminClient") -> int:
            key = await client.revoke_key(prefix.partition(".")[0])  # a whole key is accepted, but never printed
            is_last = all(one["revoked_at"] for one in await client.list_keys())
            if as_json:
                print_json(key)
            else:
                print_line(f"Revoked the key {key['prefix']} of {key['person']}.")
                if is_last:
                    print_note(
                        "No key is active now, and the server stays locked: create another key, or let this "
                        f"machine in without one (`{program_name()} keys unlock`)."
                    )
            return 0

        return run_with_admin_client(session, config, data_dir, work)


def _add_unlock(keys: typer.Typer, session: Session) -> None:
    @keys.command(
        help="Accept requests from this machine without a key again, after the last key was revoked. Never do this on "
        "a server behind a proxy: everyone who reaches the proxy would be an admin.",
        short_help="Accept requests from this machine without a key again",
    )
    def unlock(as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.error_output import Failure

        async def work(client: "AdminClient") -> int:
            state = await client.unlock()
            if state["locked"]:
                raise Failure(_active_keys_sentence(state["active_keys"]), code="locked")
            if as_json:
                print_json(state)
            else:
                print_line(
                    "Unlocked: requests from this machine need no key until the next one is created. "
                    "Create one before you set up a proxy."
                )
            return 0

        return run_with_admin_client(session, config, data_dir, work)


def run_with_admin_client(
    session: Session, config: Path | None, data_dir: Path | None, work: Callable[["AdminClient"], Awaitable[int]]
) -> int:
    """The exit code of `work`, done by the server if there is one."""
    from adapters.cli.client.open import open_admin_client

    loaded = session.load_config(config, data_dir)

    async def run() -> int:
        async with open_admin_client(session.composition, loaded) as client:
            return await work(client)

    return run_until_done(run())


def _active_keys_sentence(count: int) -> str:
    keys = "1 API key is active" if count == 1 else f"{count} API keys are active"
    return f"{keys}, so the server stays locked: revoke them first (`{program_name()} keys list` shows them)."


def _print_keys(keys: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"keys": keys})
        return
    if not keys:
        print_note("There are no API keys: without one, the server accepts only requests from this machine.")
        return
    rows = [
        (
            key["prefix"],
            key["person"],
            "admin" if key["admin"] else "user",
            key["created_at"][:10],
            (key["last_used_at"] or "never")[:10],
            f"revoked {key['revoked_at'][:10]}" if key["revoked_at"] else "active",
        )
        for key in keys
    ]
    print_table(("Prefix", "Person", "Role", "Created", "Last used", "Status"), rows)
