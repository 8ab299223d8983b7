"""The owner's commands: setup, doctor, update, models, keys and db; also `fetch`."""

from typing import Annotated, Any

import typer

from adapters.cli.models.commands import add_model_commands
from adapters.cli.options import CONFIG, DATA_DIR, JSON, make_group
from adapters.cli.output import print_json, print_line, print_note, print_table, program_name
from adapters.cli.session import Session, run_until_done, set_data_dir
from adapters.cli.setup.command import add_setup
from adapters.cli.update_command import add_update


def add_admin_commands(app: typer.Typer, session: Session) -> None:
    _add_fetch(app, session)
    add_setup(app, session)
    _add_doctor(app, session)
    add_update(app, session)
    app.add_typer(_models_group(session), name="models", help="Manage models")
    app.add_typer(_keys_group(session), name="keys", help="Manage API keys")
    app.add_typer(_database_group(session), name="db", help="Manage the database")


def _add_fetch(app: typer.Typer, session: Session) -> None:
    @app.command(help="Get a job's result again")
    def fetch(
        job: Annotated[str, typer.Argument(metavar="JOB", help="Job id, or its first 4 or more characters")],
        out: Annotated[
            str | None, typer.Option("--out", "-o", metavar="DIR|FILE", help="Output folder or file")
        ] = None,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli import job_commands

        loaded = session.load_config(config, data_dir)
        return run_until_done(job_commands.fetch_result(session.composition, loaded, job, out, as_json))


def _add_doctor(app: typer.Typer, session: Session) -> None:
    @app.command(help="Diagnose the installation")
    def doctor(
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.doctor.run import print_checks, run_checks

        set_data_dir(data_dir)
        return print_checks(run_checks(session.composition, config), as_json=as_json)


def _models_group(session: Session) -> typer.Typer:
    models = make_group()

    @models.command("list", help="List installed models and presets")
    def listing(as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.models.inspect import print_models

        loaded = session.load_config(config, data_dir)
        return print_models(loaded, as_json=as_json)

    add_model_commands(models, session)
    return models


# ---------------------------------------------------------------- keys


def _keys_group(session: Session) -> typer.Typer:
    keys = make_group()

    @keys.command(help="Create an API key; it is shown only once")
    def create(
        person: Annotated[str | None, typer.Option(metavar="NAME", help="Owner of the key (default: you)")] = None,
        admin: Annotated[bool, typer.Option("--admin", help="Grant admin rights")] = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.client.open import open_admin_client

        loaded = session.load_config(config, data_dir)

        async def work() -> int:
            async with open_admin_client(session.composition, loaded) as client:
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

        return run_until_done(work())

    @keys.command("list", help="List the API keys, without their secrets")
    def listing(as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.client.open import open_admin_client

        loaded = session.load_config(config, data_dir)

        async def work() -> int:
            async with open_admin_client(session.composition, loaded) as client:
                keys = await client.list_keys()
            _print_keys(keys, as_json=as_json)
            return 0

        return run_until_done(work())

    @keys.command(help="Revoke an API key")
    def revoke(
        prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="The part of the key before the dot")],
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.client.open import open_admin_client

        loaded = session.load_config(config, data_dir)

        async def work() -> int:
            async with open_admin_client(session.composition, loaded) as client:
                key = await client.revoke_key(prefix.partition(".")[0])  # a whole key is accepted, but never printed
            if as_json:
                print_json(key)
            else:
                print_line(f"Revoked the key {key['prefix']} of {key['person']}.")
            return 0

        return run_until_done(work())

    return keys


def _print_keys(keys: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"keys": keys})
        return
    if not keys:
        print_note("There are no API keys: the server accepts requests from this machine only.")
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


# ---------------------------------------------------------------- database


def _database_group(session: Session) -> typer.Typer:
    database = make_group()

    @database.command(
        help="Upgrade the database to this version's schema; `serve` also does this",
        short_help="Upgrade the database to this version's schema",
    )
    def upgrade(config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.database import upgrade_database

        loaded = session.load_config(config, data_dir)
        return run_until_done(upgrade_database(session.composition, loaded))

    @database.command(help="Check the database for damage")
    def check(as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.database import check_database

        loaded = session.load_config(config, data_dir)
        return run_until_done(check_database(session.composition, loaded, as_json=as_json))

    @database.command(help="Back up the database; works while the server is running")
    def backup(
        path: Annotated[str, typer.Argument(metavar="PATH", help="New file, or an existing folder")],
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.database import backup_database

        loaded = session.load_config(config, data_dir)
        return run_until_done(backup_database(session.composition, loaded, path))

    @database.command(
        help="Restore a backup and keep the previous database; the server must be stopped",
        short_help="Restore a backup; the server must be stopped",
    )
    def restore(
        file: Annotated[str, typer.Argument(metavar="FILE", help="Backup written by `db backup`")],
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.database import restore_database

        loaded = session.load_config(config, data_dir)
        return run_until_done(restore_database(session.composition, loaded, file))

    return database
