"""The arguments of `models use`, `download`, `stop`, `add`, `remove` and `release`."""

from typing import Annotated

import typer

from adapters.cli import session as running
from adapters.cli.options import CONFIG, DATA_DIR, JSON
from adapters.cli.session import Session

NAME = Annotated[str, typer.Argument(metavar="NAME", help="A model or preset, as `models list` shows it")]
ACCEPT = Annotated[bool, typer.Option("--accept-licence", help="You have read its licence and accept it")]
ANYWAY = Annotated[bool, typer.Option("--anyway", help="Though it is not expected to fit this machine")]


def add_choosing(models: typer.Typer, session: Session) -> None:
    _add_use(models, session)
    _add_download(models, session)
    _add_stop(models, session)
    _add_add(models, session)
    _add_remove(models, session)
    _add_release(models, session)


def _add_use(models: typer.Typer, session: Session) -> None:
    @models.command(help="Fetch a model, try it, and switch to it")
    def use(
        name: NAME,
        task: Annotated[
            list[str] | None,
            typer.Option("--for", metavar="TASK", help="Become the default for this alone"),
        ] = None,
        accept_licence: ACCEPT = False,
        anyway: ANYWAY = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.models import install

        loaded = session.load(config, data_dir)
        wish = install.Wish(name=name, tasks=tuple(task or ()), accepts=accept_licence, anyway=anyway, as_json=as_json)
        return running.run_until_done(install.use(session.composition, loaded, wish, install.asker()))


def _add_download(models: typer.Typer, session: Session) -> None:
    @models.command(help="Fetch a model for later")
    def download(
        name: NAME,
        accept_licence: ACCEPT = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:

        from adapters.cli.models import install

        loaded = session.load(config, data_dir)
        wish = install.Wish(name=name, accepts=accept_licence, anyway=True, only_fetch=True, as_json=as_json)
        return running.run_until_done(install.use(session.composition, loaded, wish, install.asker()))


def _add_stop(models: typer.Typer, session: Session) -> None:
    @models.command(help="Give up fetching a model; what came stays for the next time")
    def stop(name: NAME, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:

        from adapters.cli.models import install

        loaded = session.load(config, data_dir)
        return running.run_until_done(install.stop(session.composition, loaded, name))


def _add_add(models: typer.Typer, session: Session) -> None:
    @models.command(help="Make a model known, so that it can be used; keep a LoRA or a textual inversion")
    def add(
        source: Annotated[
            str,
            typer.Argument(metavar="SOURCE", help="org/name of a hub, a folder, or a .safetensors file"),
        ],
        name: Annotated[str, typer.Option("--name", metavar="NAME", help="What to call it")] = "",
        file: Annotated[
            str,
            typer.Option("--file", metavar="FILE", help="Of a hub's repo: which of its files, where it is one file"),
        ] = "",
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from pathlib import Path

        from adapters.cli.models import install

        loaded = session.load(config, data_dir)
        path = Path(source).expanduser()
        body = {"source": str(path.absolute()) if path.exists() else source, "name": name, "file": file}
        return running.run_until_done(install.add(session.composition, loaded, body, as_json=as_json))


def _add_remove(models: typer.Typer, session: Session) -> None:
    @models.command(help="Take a model away, with the files that were fetched for it")
    def remove(
        name: NAME,
        keep_files: Annotated[bool, typer.Option("--keep-files", help="Leave what was fetched on the disk")] = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:

        from adapters.cli.models import install

        loaded = session.load(config, data_dir)
        work = install.remove(session.composition, loaded, name, keeps_files=keep_files, as_json=as_json)
        return running.run_until_done(work)


def _add_release(models: typer.Typer, session: Session) -> None:
    @models.command(help="Give the GPU back: unload every model that no job runs on")
    def release(as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:

        from adapters.cli.models import install

        loaded = session.load(config, data_dir)
        return running.run_until_done(install.release(session.composition, loaded, as_json=as_json))
