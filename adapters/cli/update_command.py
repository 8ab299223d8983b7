"""The arguments of `update`."""

from typing import Annotated

import typer

from adapters.cli.options import CONFIG, DATA_DIR, JSON
from adapters.cli.session import Session


def add_update(app: typer.Typer, session: Session) -> None:
    @app.command(help="Fetch a newer Easel; when anything fails, everything is put back as it was")
    def update(
        check: Annotated[bool, typer.Option("--check", help="Only say whether there is something new")] = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.doctor.data import find_database
        from adapters.cli.error_output import BadInput
        from adapters.cli.output import note, program, tell, tell_json
        from adapters.cli.update import Updater, shown

        loaded = session.load(config, data_dir)
        database = find_database(loaded.settings["storage"].url, loaded.data_dir)
        if database is None:
            raise BadInput(
                "`update` backs up SQLite, and storage.url names another kind: back it up with its own tools, then "
                "`git pull --ff-only`, `python scripts/install.py` and `easel db upgrade`."
            )
        updater = Updater(loaded.root, loaded.data_dir, database, note)
        news = updater.look() if check else updater.run()
        if as_json:
            tell_json({"old": news.old, "new": news.new, "commits": list(news.subjects), "updated": not check})
        elif not news.subjects:
            tell("Easel is up to date.")
        else:
            does = f"`{program()} update` takes them." if check else "It is in place: start the server again."
            tell(f"{len(news.subjects)} new commits, {news.old[:8]} to {news.new[:8]}. {does}")
            for line in shown(news):
                tell(line)
        return 0
