"""Collects the sentences that people read into `bot/locales/easel.pot`, and compiles catalogues: `make locales`.

A translation is `bot/locales/LANGUAGE/LC_MESSAGES/easel.po`, made from the template with any gettext editor; the
`.mo` beside it is what runs, so both are kept. Only what this needs Babel for happens here: running needs none.
"""

import io
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
LOCALES = ROOT / "bot" / "locales"
TEMPLATE = LOCALES / "easel.pot"
KEYWORDS = {"say": None, "N_": None}
HEADER = "# Every sentence that Easel says to people. Made by `make locales`: change the sentences in the code.\n#"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
"""The same sentences give the same file, whenever it is made."""


def collected(root: Path = ROOT) -> Catalog:
    """Every sentence given to `say(...)` or `N_(...)` in `bot` and `adapters`, with the files that say it."""
    catalog = Catalog(
        project="Easel", creation_date=LONG_AGO, revision_date=LONG_AGO, header_comment=HEADER, fuzzy=False
    )
    for room in ("bot", "adapters"):
        found = extract_from_dir(root / room, [("**.py", "python")], keywords=KEYWORDS)
        for file, _line, sentence, _comments, _context in sorted(found, key=lambda one: (one[0], one[1])):
            if sentence:
                catalog.add(sentence, locations=[(f"{room}/{file}".replace("\\", "/"), 0)])
    return catalog


def template(root: Path = ROOT) -> str:
    """The text of `easel.pot`."""
    out = io.BytesIO()
    write_po(out, collected(root), sort_output=True, include_lineno=False, width=100)
    return out.getvalue().decode()


def compile_catalogue(po: Path) -> Path:
    """Write the `.mo` beside a `.po`."""
    with po.open("rb") as file:
        catalog = read_po(file, locale=po.parent.parent.name)
    mo = po.with_suffix(".mo")
    with mo.open("wb") as file:
        write_mo(file, catalog)
    return mo


def main() -> None:
    LOCALES.mkdir(exist_ok=True)
    TEMPLATE.write_text(template(), encoding="utf-8")
    print(TEMPLATE.relative_to(ROOT))
    for po in sorted(LOCALES.glob("*/LC_MESSAGES/easel.po")):
        print(compile_catalogue(po).relative_to(ROOT))


if __name__ == "__main__":
    main()
