"""`easel plugins new`: writes the template of a plugin."""

from pathlib import Path

from adapters.cli.error_output import BadInput, Failure
from adapters.cli.output import print_json, print_line, print_note, program_name
from bot.plugins import plugin_template
from bot.plugins.discovery import FOLDER, name_problem, plugin_name


def write_plugin(data_dir: Path, written: str, *, as_json: bool) -> int:
    """Raises: BadInput: the name cannot be used; Failure: there is such a file, or it cannot be written."""
    name = plugin_name(written)
    if problem := name_problem(name):
        raise BadInput(problem)
    path = data_dir / FOLDER / f"{name.replace('-', '_')}.py"
    code = Path(plugin_template.__file__).read_text("utf-8")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(code)
    except FileExistsError as error:
        raise Failure(f"{path} exists already: choose another name, or edit it.", code="exists") from error
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror or error}.") from error
    if as_json:
        print_json({"name": name, "path": str(path)})
    else:
        print_line(str(path))
        print_note(f"Edit it, then switch it on: `{program_name()} plugins enable {name}`. See docs/plugins.md.")
    return 0
