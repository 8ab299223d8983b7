"""The arguments of `models use`, `optimize`, `download`, `cancel`, `add`, `scan`, `remove` and `unload`."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from adapters.cli.options import CONFIG, DATA_DIR, JSON
from adapters.cli.session import Session, run_until_done


class WeightFormat(StrEnum):
    """Values of `quantize`."""

    AUTO = "auto"
    NONE = "none"
    EIGHT_BIT = "8bit"
    FOUR_BIT = "4bit"
    FP8 = "fp8"


class Precision(StrEnum):
    """Values of `dtype`."""

    AUTO = "auto"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


NAME = Annotated[str, typer.Argument(metavar="NAME", help="Model or preset, as shown by `models list`")]
ACCEPT_LICENCE = Annotated[
    bool, typer.Option("--accept-licence", help="Accept the model's licence, which you have read")
]
FORCE = Annotated[bool, typer.Option("--force", help="Install even if it is not expected to fit")]
ANYWAY = Annotated[bool, typer.Option("--anyway", hidden=True, help="Old name of --force")]


def add_model_commands(models: typer.Typer, session: Session) -> None:
    _add_use(models, session)
    _add_optimize(models, session)
    _add_download(models, session)
    _add_cancel(models, session)
    _add_add(models, session)
    _add_scan(models, session)
    _add_remove(models, session)
    _add_unload(models, session)


def _add_use(models: typer.Typer, session: Session) -> None:
    @models.command(help="Install a model or change its number format or adapter, test it, and switch to it")
    def use(
        name: NAME,
        task: Annotated[
            list[str] | None,
            typer.Option("--for", metavar="TASK", help="Make it the default for this task only; repeatable"),
        ] = None,
        weights: Annotated[
            WeightFormat | None,
            typer.Option("--weights", help="Number format of its weights (default: the model's)", case_sensitive=False),
        ] = None,
        precision: Annotated[
            Precision | None,
            typer.Option("--precision", help="What it computes in (default: the model's)", case_sensitive=False),
        ] = None,
        adapter: Annotated[
            str,
            typer.Option("--adapter", metavar="NAME", help="Only switch to this adapter, or with none to no adapter"),
        ] = "",
        accept_licence: ACCEPT_LICENCE = False,
        force: FORCE = False,
        anyway: ANYWAY = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.models import install

        loaded = session.load_config(config, data_dir)
        if adapter:
            is_alone = not (task or weights or precision)
            work = install.use_adapter(session.composition, loaded, name, adapter, is_alone=is_alone, as_json=as_json)
            return run_until_done(work)
        request = install.InstallRequest(
            name=name,
            tasks=tuple(task or ()),
            weights=weights.value if weights else "",
            precision=precision.value if precision else "",
            accept_licence=accept_licence,
            force=force or anyway,
            as_json=as_json,
        )
        return run_until_done(install.use_model(session.composition, loaded, request, install.terminal_confirm()))


def _add_optimize(models: typer.Typer, session: Session) -> None:
    @models.command(help="Compile a model, and switch to it if it is faster")
    def optimize(
        name: NAME,
        backend: Annotated[
            str, typer.Option("--backend", metavar="BACKEND", help="openvino or onnx; torch switches back")
        ] = "openvino",
        weights: Annotated[
            str, typer.Option("--weights", metavar="FORMAT", help="Weights: none or 8bit (default: the model's)")
        ] = "",
        precision: Annotated[
            str,
            typer.Option(
                "--precision", metavar="FORMAT", help="Compute in float32, bfloat16 or float16 (default: the model's)"
            ),
        ] = "",
        yes: Annotated[bool, typer.Option("--yes", help="Switch without asking, if it is better")] = False,
        delete_builds: Annotated[
            bool, typer.Option("--delete-builds", help="Switch back to torch and delete the model's builds")
        ] = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.models import optimize as work
        from adapters.cli.models.install import terminal_confirm

        loaded = session.load_config(config, data_dir)
        if delete_builds:
            return run_until_done(work.delete_builds(session.composition, loaded, name, as_json=as_json))
        request = work.OptimizeRequest(
            name=name, backend=backend, weights=weights, precision=precision, switch=yes, as_json=as_json
        )
        return run_until_done(work.optimize_model(session.composition, loaded, request, terminal_confirm()))


def _add_download(models: typer.Typer, session: Session) -> None:
    @models.command(help="Download a model without switching to it")
    def download(
        name: NAME,
        accept_licence: ACCEPT_LICENCE = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:

        from adapters.cli.models import install

        loaded = session.load_config(config, data_dir)
        request = install.InstallRequest(
            name=name, accept_licence=accept_licence, force=True, download_only=True, as_json=as_json
        )
        return run_until_done(install.use_model(session.composition, loaded, request, install.terminal_confirm()))


def _add_cancel(models: typer.Typer, session: Session) -> None:
    @models.command("stop", hidden=True, help="Old name of `models cancel`")
    @models.command(help="Cancel a download, which can be resumed, or a compilation")
    def cancel(name: NAME, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:

        from adapters.cli.models import install

        loaded = session.load_config(config, data_dir)
        return run_until_done(install.cancel_download(session.composition, loaded, name))


def _add_add(models: typer.Typer, session: Session) -> None:
    @models.command(help="Add a model, or install a LoRA or textual inversion")
    def add(
        source: Annotated[
            str,
            typer.Argument(metavar="SOURCE", help="Hub repository (org/name), link to Civitai, folder, or file"),
        ],
        name: Annotated[str, typer.Option("--name", metavar="NAME", help="Name (default: from SOURCE)")] = "",
        file: Annotated[
            str,
            typer.Option("--file", metavar="FILE", help="Single weights file to use from the Hub repository"),
        ] = "",
        base_model: Annotated[
            str,
            typer.Option(
                "--base-model", metavar="REPO", help="Repository or folder of a .gguf file's other components"
            ),
        ] = "",
        weights: Annotated[
            WeightFormat, typer.Option("--weights", help="Number format of stored weights", case_sensitive=False)
        ] = WeightFormat.AUTO,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.models import install

        loaded = session.load_config(config, data_dir)
        install.require_utf8(source)
        path = os.path.expanduser(source)
        base = os.path.expanduser(base_model)
        body = {
            "source": os.path.abspath(path) if os.path.exists(path) else source,
            "name": name,
            "file": file,
            "base_model": os.path.abspath(base) if os.path.exists(base) else base_model,
            "weights": weights.value,
        }
        return run_until_done(install.add_model(session.composition, loaded, body, as_json=as_json))


def _add_scan(models: typer.Typer, session: Session) -> None:
    @models.command(help="Adopt the models in ComfyUI's or AUTOMATIC1111's folder, without copying them")
    def scan(
        folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The program's folder, or its models folder")],
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:
        from adapters.cli.models import install

        loaded = session.load_config(config, data_dir)
        install.require_utf8(folder)
        path = os.path.abspath(os.path.expanduser(folder))
        return run_until_done(install.scan_models(session.composition, loaded, path, as_json=as_json))


def _add_remove(models: typer.Typer, session: Session) -> None:
    @models.command(help="Remove a model and its downloaded files, a LoRA, or an adapter")
    def remove(
        name: NAME,
        keep_files: Annotated[bool, typer.Option("--keep-files", help="Keep the downloaded files")] = False,
        as_json: JSON = False,
        config: CONFIG = None,
        data_dir: DATA_DIR = None,
    ) -> int:

        from adapters.cli.models import install

        loaded = session.load_config(config, data_dir)
        work = install.remove_model(session.composition, loaded, name, keep_files=keep_files, as_json=as_json)
        return run_until_done(work)


def _add_unload(models: typer.Typer, session: Session) -> None:
    @models.command("release", hidden=True, help="Old name of `models unload`")
    @models.command(help="Unload idle models and free GPU memory")
    def unload(as_json: JSON = False, config: CONFIG = None, data_dir: DATA_DIR = None) -> int:

        from adapters.cli.models import install

        loaded = session.load_config(config, data_dir)
        return run_until_done(install.unload_models(session.composition, loaded, as_json=as_json))
