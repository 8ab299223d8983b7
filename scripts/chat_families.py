"""The families of vision-language models that chat, as a table in docs/models.md.

`python -m scripts.chat_families` writes it: each family answers with a tiny random model. A test compares the table.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bot.models import IMAGE_TEXT_TO_TEXT, IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING
from inference.checkpoints.chat_families import FAMILIES
from inference.engine.base import build_engine
from tests.inference.support import make_model
from tests.inference.tiny_chat import save_chat
from tests.inference.vision_reference import make_request, run_task

PAGE = Path(__file__).resolve().parent.parent / "docs" / "models.md"
START, END = "<!-- families: python -m scripts.chat_families -->\n", "<!-- end of families -->\n"
TASKS = (IMAGE_TEXT_TO_TEXT, IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)


def family_table(rows: Iterable[str]) -> str:
    """Markdown."""
    return "| family | `model_type` | class | texts share passes |\n|---|---|---|---|\n" + "".join(rows)


def family_row(name: str, capabilities: Mapping[str, Any] | None) -> str:
    """`capabilities`: of the engine of one of its models; None: it needs torchvision."""
    family = FAMILIES[name]
    rows = capabilities["rows"] if capabilities else 0
    passes = f"up to {rows}" if rows > 1 else "no" if rows else "not tested: needs the [extra](#extras) `torchvision`"
    return f"| {family.title} | `{name}` | `{family.model}` | {passes} |\n"


def try_family(name: str) -> str:
    """The row of a family whose tiny model has answered. Raises what its engine raises."""
    if not FAMILIES[name].image_processor:
        return family_row(name, None)
    with TemporaryDirectory() as folder:
        engine = build_engine(make_model(tasks=TASKS, repo=str(save_chat(Path(folder), name))))
        engine.load_model("cpu")
        run_task(engine, make_request("what is this ?"))
        row = family_row(name, engine.capabilities)
        engine.unload_model()
    return row


def write_table(page: Path = PAGE) -> None:
    table = family_table(map(try_family, FAMILIES))
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{START}{table}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write_table()
