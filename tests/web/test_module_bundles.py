"""The modules of a folder as one module."""

import re

import pytest

from adapters.web.module_bundles import Bundle, join_modules
from bot.errors import StartupError

BUNDLES = (Bundle("start", ("core", "vendor")), Bundle("gallery", ("gallery",)))


def join(**modules):
    return join_modules({f"{name.replace('__', '/')}.js": text for name, text in modules.items()}, BUNDLES)


def test_a_module_follows_those_that_it_imports():
    text = join(core__a='import { b as c } from "./b.js";\nexport const a = c + 1;', core__b="export const b = 1;")[
        "start.js"
    ]

    assert text.index("core/b.js") < text.index("core/a.js")
    assert "const { b: c } = $core_b;" in text
    assert "export const { a } = $core_a;" in text


def test_another_folder_is_imported_as_a_whole():
    joined = join(core__a="export const a = 1;", gallery__g='import { a } from "../core/a.js";\nexport const g = a;')

    assert joined["gallery.js"].startswith('import * as $$_start from "./start.js";')
    assert "const { a } = $$_start;" in joined["gallery.js"]


def test_imports_on_demand_name_the_folder_even_if_it_does_not_exist():
    text = join(core__a='export const a = () => [import("../gallery/g.js"), import("../edit/edit.js")];', gallery__g="")

    assert 'import("./gallery.js"), import("./edit.js")' in text["start.js"]


def test_names_of_libraries_are_exported_by_the_module_that_imports_them():
    joined = join(vendor__lit="const t=1;export{t as html};\n//# sourceMappingURL=lit.js.map",
                  core__render='import { html } from "../vendor/lit.js";\nexport { html };')  # fmt: skip

    assert joined["start.js"].count("export const") == 1
    assert "return { html: t };" in joined["start.js"]
    assert "sourceMappingURL" not in joined["start.js"]


def test_comments_and_indentation_are_removed_but_strings_are_not():
    text = join(core__a='// why\n/** what\n * more */\nexport function a() {\n  return "// not /* one";\n}')["start.js"]

    assert '// not /* one";' in text
    assert "why" not in text
    assert "more" not in text


def test_casts_of_types_are_removed():
    text = join(core__a='export const a = [/** @type {"x"} */ (b), "/** @type {x} */"];')["start.js"]

    assert 'const a = [(b), "/** @type {x} */"];' in text


A_NEEDS_B = 'import { b } from "./b.js";\nexport const a = 1;'
B_NEEDS_A = 'import { a } from "./a.js";\nexport const b = 1;'
A_NEEDS_G = 'import { g } from "../gallery/g.js";\nexport const a = 1;'
G_NEEDS_A = 'import { a } from "../core/a.js";\nexport const g = 1;'


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"core__a": 'import "./b.js";', "core__b": ""}, "core/a.js cannot be joined"),
        ({"core__a": "export default 1;"}, "core/a.js cannot be joined"),
        ({"core__a": "export let a = 1;"}, "core/a.js cannot be joined"),
        ({"core__a": 'import * as b from "./b.js";', "core__b": ""}, "core/a.js cannot be joined"),
        ({"core__a": A_NEEDS_B}, "core/b.js, which does not exist"),
        ({"core__a": A_NEEDS_B, "core__b": "export const c = 1;"}, "exports no such name"),
        ({"core__a": "export const x = 1;", "core__b": "export const x = 1;"}, "export x: core/a.js and core/b.js"),
        ({"core__a": A_NEEDS_B, "core__b": B_NEEDS_A}, "core/a.js -> core/b.js -> core/a.js"),
        ({"core__a": A_NEEDS_G, "gallery__g": G_NEEDS_A}, "gallery.js and start.js import one another"),
    ],
)
def test_what_cannot_be_joined_is_named(modules, message):
    with pytest.raises(StartupError, match=re.escape(message)):
        join(**modules)
