"""The arguments of `update`."""

from typing import Annotated

import typer

from adapters.cli.options import CONFIG, DATA_DIR, JSON
from adapters.cli.session import Session


def add_update(app: typer.Typer, session: Session) -> None:
    @app.command(
        help="Update Easel to the latest version; rolls back completely if any step fails",
        short_help="Update Easel to the latest version",
    )
    def update(
        check: Annotated[bool, typer.Option("--check", help="Only check for a new version")] = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.doctor.data import find_database
        from adapters.cli.error_output import BadInput
        from adapters.cli.output import print_json, print_line, print_note, program_name
        from adapters.cli.update import Updater, format_commits

        loaded = session.load_config(config, data_dir)
        database = find_database(loaded.settings["storage"].url, loaded.data_dir)
        if database is None:
            raise BadInput(
                "`update` supports SQLite only: back up the database in storage.url with its own tools, then run "
                "`git pull --ff-only`, `python scripts/install.py` and `easel db upgrade`."
            )
        updater = Updater(loaded.root, loaded.data_dir, database, print_note)
        found = updater.check_for_update() if check else updater.run_update()
        if as_json:
            print_json({"old": found.old, "new": found.new, "commits": list(found.subjects), "updated": not check})
        elif not found.subjects:
            print_line("Easel is up to date.")
        else:
            count = "1 new commit" if len(found.subjects) == 1 else f"{len(found.subjects)} new commits"
            versions = f"{found.old[:8]} to {found.new[:8]}"
            next_step = f"`{program_name()} update` installs them" if check else "Installed; restart the server"
            print_line(f"{count}, {versions}. {next_step}.")
            for line in format_commits(found):
                print_line(line)
        return 0
