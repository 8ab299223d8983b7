"""The owner's commands: setup, doctor, update, models, train, plugins, keys, people and db; also `fetch`."""

from typing import Annotated

import typer

from adapters.cli.key_commands import keys_group
from adapters.cli.models.commands import add_model_commands
from adapters.cli.options import CONFIG, DATA_DIR, JOB, JSON, OUT, make_group
from adapters.cli.people_commands import people_group
from adapters.cli.plugins.plugin_group import plugin_group
from adapters.cli.session import Session, run_until_done, set_data_dir
from adapters.cli.setup.command import add_setup
from adapters.cli.training_commands import train_group
from adapters.cli.update_command import add_update


def add_admin_commands(app: typer.Typer, session: Session) -> None:
    _add_fetch(app, session)
    add_setup(app, session)
    _add_doctor(app, session)
    add_update(app, session)
    app.add_typer(_models_group(session), name="models", help="Manage models")
    app.add_typer(train_group(session), name="train", help="Train adapters and show their report cards")
    app.add_typer(plugin_group(session), name="plugins", help="List, switch and begin plugins")
    app.add_typer(keys_group(session), name="keys", help="Manage API keys")
    app.add_typer(people_group(session), name="people", help="List and block people")
    app.add_typer(_database_group(session), name="db", help="Manage the database")


def _add_fetch(app: typer.Typer, session: Session) -> None:
    @app.command(help="Get a job's result again")
    def fetch(
        job: JOB,
        out: OUT = None,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.fetching import fetch_result

        loaded = session.load_config(config, data_dir)
        return run_until_done(fetch_result(session.composition, loaded, job, out, as_json))


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
        from adapters.cli.doctor.compiled import describe_notes, find_executions
        from adapters.cli.doctor.data import read_adapters, read_capabilities
        from adapters.cli.models.inspect import print_models
        from bot.usecases.adapter_views import adapter_rows

        loaded = session.load_config(config, data_dir)
        executions = find_executions(session.composition, loaded)
        for name, capabilities in read_capabilities(loaded).items():
            loaded.models.set_capabilities(name, capabilities)
        adapters = adapter_rows(read_adapters(loaded), loaded.models, loaded.data_dir)
        return print_models(loaded, executions, describe_notes(executions), adapters, as_json=as_json)

    add_model_commands(models, session)
    return models


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
