"""The owner's commands: keys, database, models, doctor; and getting a result again."""

from typing import Annotated, Any

import typer

from adapters.cli import session as running
from adapters.cli.models.commands import add_choosing
from adapters.cli.options import CONFIG, DATA_DIR, JSON, make_group
from adapters.cli.output import note, tell, tell_json
from adapters.cli.session import Session
from adapters.cli.setup.command import add_setup
from adapters.cli.update_command import add_update


def add_chores(app: typer.Typer, session: Session) -> None:
    _add_fetch(app, session)
    add_setup(app, session)
    _add_doctor(app, session)
    add_update(app, session)
    app.add_typer(_models(session), name="models", help="The models of this house")
    app.add_typer(_keys(session), name="keys", help="API keys")
    app.add_typer(_database(session), name="db", help="The database")


def _add_fetch(app: typer.Typer, session: Session) -> None:
    @app.command(help="Get the result of a job again")
    def fetch(
        job: Annotated[str, typer.Argument(metavar="JOB", help="Its id, or the first 4 or more letters of it")],
        out: Annotated[str | None, typer.Option("--out", "-o", metavar="DIR|FILE", help="Where to write")] = None,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli import job_commands

        loaded = session.load(config, data_dir)
        return running.run_until_done(job_commands.fetch(session.composition, loaded, job, out, as_json))


def _add_doctor(app: typer.Typer, session: Session) -> None:
    @app.command(help="Say in plain words what works here and what does not")
    def doctor(
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.doctor.run import examine, show

        running.use_data_dir(data_dir)
        return show(examine(session.composition, config), as_json=as_json)


def _models(session: Session) -> typer.Typer:
    models = make_group()

    @models.command("list", help="What is configured, and for which commands")
    def listing(as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.models.inspect import show_models

        loaded = session.load(config, data_dir)
        return show_models(loaded, as_json=as_json)

    add_choosing(models, session)
    return models


# ---------------------------------------------------------------- keys


def _keys(session: Session) -> typer.Typer:
    keys = make_group()

    @keys.command(help="Make a key; it is shown this once")
    def create(
        person: Annotated[str | None, typer.Option(metavar="NAME", help="Whose; yours when not given")] = None,
        admin: Annotated[bool, typer.Option("--admin", help="It may do what the owner may")] = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.client.open import open_keeper

        loaded = session.load(config, data_dir)

        async def work() -> int:
            async with open_keeper(session.composition, loaded) as keeper:
                key = await keeper.create_key(person, is_admin=admin)
            if as_json:
                tell_json(key)
            else:
                tell(key["key"])
                note(f"For {key['person']}. Keep it: it is not shown again. `keys revoke {key['prefix']}` ends it.")
            return 0

        return running.run_until_done(work())

    @keys.command("list", help="Every key, without its secret")
    def listing(as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.client.open import open_keeper

        loaded = session.load(config, data_dir)

        async def work() -> int:
            async with open_keeper(session.composition, loaded) as keeper:
                found = await keeper.keys()
            _show_keys(found, as_json=as_json)
            return 0

        return running.run_until_done(work())

    @keys.command(help="End a key")
    def revoke(
        prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="What stands before the dot")],
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.client.open import open_keeper

        loaded = session.load(config, data_dir)

        async def work() -> int:
            async with open_keeper(session.composition, loaded) as keeper:
                key = await keeper.revoke_key(prefix.partition(".")[0])  # a whole key is understood, and not repeated
            if as_json:
                tell_json(key)
            else:
                tell(f"The key {key['prefix']} of {key['person']} is revoked.")
            return 0

        return running.run_until_done(work())

    return keys


def _show_keys(keys: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        tell_json({"keys": keys})
        return
    if not keys:
        note("There are no keys. While there are none, only this machine may use the server.")
    for key in keys:
        made = key["created_at"][:10]
        used = f"last used {key['last_used_at'][:10]}" if key["last_used_at"] else "never used"
        more = ", admin" if key["admin"] else ""
        ended = f", revoked {key['revoked_at'][:10]}" if key["revoked_at"] else ""
        tell(f"{key['prefix']}  {key['person']}{more}  made {made}, {used}{ended}")


# ---------------------------------------------------------------- database


def _database(session: Session) -> typer.Typer:
    database = make_group()

    @database.command(help="Bring the database to this version's tables; starting the server does so too")
    def upgrade(config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.database import upgrade

        loaded = session.load(config, data_dir)
        return running.run_until_done(upgrade(session.composition, loaded))

    @database.command(help="Look for damage")
    def check(as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:
        from adapters.cli.database import check

        loaded = session.load(config, data_dir)
        return running.run_until_done(check(session.composition, loaded, as_json=as_json))

    @database.command(help="Write a consistent copy, while the server may go on")
    def backup(
        path: Annotated[str, typer.Argument(metavar="PATH", help="A new file, or a folder for it")],
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.database import backup

        loaded = session.load(config, data_dir)
        return running.run_until_done(backup(session.composition, loaded, path))

    @database.command(help="Put a copy in the place of the database, which is kept aside; the server must be stopped")
    def restore(
        file: Annotated[str, typer.Argument(metavar="FILE", help="What `db backup` wrote")],
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.database import restore

        loaded = session.load(config, data_dir)
        return running.run_until_done(restore(session.composition, loaded, file))

    return database
