"""What can be seen of the Qt side without running it: imports, translation, names."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

GUI, LIBRARY = ROOT / "SegAdversarial", ROOT / "SegAdversarialLib"
GUI_FILES = sorted(x.relative_to(ROOT).as_posix() for x in GUI.rglob("*.py"))
LIBRARY_FILES = sorted(x.relative_to(ROOT).as_posix() for x in LIBRARY.rglob("*.py"))

OF_SLICER = {"qt", "ctk", "slicer", "vtk"}
# of the library, what needs nothing but Python itself, and may be imported before packages are installed
LIGHT = {"SegAdversarialLib", *(f"SegAdversarialLib.{x}" for x in ("errors", "volumes.files", "volumes.interrupted"))}

# attributes and arguments that a user reads
VISIBLE_NAMES = {
    *("accessibleDescription", "accessibleName", "acknowledgementText", "description", "detailedText", "helpText", "hint"),
    *("informativeText", "labelText", "noneDisplay", "placeholderText", "shortTitle", "specialValueText", "statusTip"),
    *("text", "title", "toolTip", "whatsThis", "windowTitle"),
}
# attributes only: as arguments they belong to temporary files
VISIBLE_ATTRIBUTES = {*VISIBLE_NAMES, "prefix", "suffix"}
# calls whose texts a user reads
VISIBLE_CALLS = {
    *("addAction", "addItem", "addItems", "addMenu", "addRow", "addTab", "appendPlainText", "insertItem", "insertTab"),
    *("setHorizontalHeaderLabels", "setPlainText", "setText", "showMessage", "showStatusMessage"),
    *("confirmOkCancelDisplay", "confirmRetryCloseDisplay", "confirmYesNoCancelDisplay", "confirmYesNoDisplay"),
    *("createProgressDialog", "delayDisplay", "errorDisplay", "infoDisplay", "messageBox", "warningDisplay", "InputError"),
    *("QCheckBox", "QGroupBox", "QLabel", "QPushButton", "QRadioButton", "QToolButton"),
    *("button", "note", "row", "say", "section", "tip"),
}
# the places of arguments that nobody reads: an item's data, the object names that our own helpers take
UNSEEN_ARGUMENTS = {"addItem": {1}, "insertItem": {2}, "button": {1}, "note": {0}, "row": {3}, "section": {1}}


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def imported(node: ast.AST) -> list[str]:
    """The modules that a statement imports, with the names taken from our own packages."""
    if isinstance(node, ast.Import):
        return [x.name for x in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: relative imports are not used here"
        module = node.module or ""
        ours = module.partition(".")[0] in ("SegAdversarialLib", "SegAdversarialGui")
        return [f"{module}.{x.name}" for x in node.names] if ours and is_package(module) else [module]
    return []


def is_package(module: str) -> bool:
    folder = ROOT / Path(*module.split("."))
    return folder.is_dir() or (GUI / Path(*module.split("."))).is_dir()


def at_file_scope(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that an import of the file runs; those that only a type checker reads are left out."""
    for node in body:
        if is_function(node):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        yield node
        for inner in ("body", "orelse", "finalbody"):
            yield from at_file_scope(getattr(node, inner, []))
        for handler in getattr(node, "handlers", []):
            yield from at_file_scope(handler.body)


def untranslated(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines and texts of an expression that are not translated: constants and f-strings outside calls of `_` and `translate`.

    What is compared, looked up or given to other functions is not shown, and not taken for a text.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.lineno, node.value
    elif isinstance(node, ast.JoinedStr):
        yield node.lineno, "".join(str(x.value) for x in node.values if isinstance(x, ast.Constant))
    for part in parts_of(node):
        yield from untranslated(part)


def parts_of(node: ast.AST) -> list[ast.expr]:
    """The expressions of which a text may be one, or be made."""
    match node:
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.BoolOp(values=parts):
            return parts
        case ast.IfExp(body=first, orelse=second) | ast.BinOp(left=first, right=second):
            return [first, second]
        case ast.Call(func=ast.Attribute(value=text, attr="format" | "join")):
            return [text]
    return []


def name_of(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def is_class(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef)


def is_english(text: str) -> bool:
    """Whether a text has a word: two letters in a row."""
    return re.search(r"[A-Za-z]{2}", text) is not None


def visible_texts(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines and untranslated texts in the places that a user reads."""
    for node in ast.walk(module):
        if isinstance(node, ast.Assign):
            if any(isinstance(x, ast.Attribute) and x.attr in VISIBLE_ATTRIBUTES for x in node.targets):
                yield from untranslated(node.value)
        elif isinstance(node, ast.Call):
            name = name_of(node.func)
            if name in VISIBLE_CALLS:
                for place, argument in enumerate(node.args):
                    if place not in UNSEEN_ARGUMENTS.get(name, ()):
                        yield from untranslated(argument)
            for keyword in node.keywords:
                if keyword.arg in VISIBLE_NAMES:
                    yield from untranslated(keyword.value)


@pytest.mark.parametrize("file", GUI_FILES)
def test_only_light_modules_are_imported_at_file_scope(file: str) -> None:
    for node in at_file_scope(tree(file).body):
        for module in imported(node):
            top = module.partition(".")[0]
            allowed = top in sys.stdlib_module_names | OF_SLICER | {"SegAdversarialGui"} or module in LIGHT
            assert allowed, f"{file}:{node.lineno} imports {module}, which a fresh Slicer lacks or which takes long"


def test_the_light_modules_are_light() -> None:
    for module in LIGHT - {"SegAdversarialLib"}:
        file = module.replace(".", "/") + ".py"
        found = {x for node in at_file_scope(tree(file).body) for x in imported(node)}
        assert {x.partition(".")[0] for x in found - LIGHT} <= sys.stdlib_module_names, file


@pytest.mark.parametrize("file", GUI_FILES)
def test_no_bindings_but_slicers(file: str) -> None:
    found = {x.partition(".")[0] for node in ast.walk(tree(file)) for x in imported(node)}
    assert not found & {"PySide6", "PySide2", "PyQt5", "PyQt6", "PythonQt", "shiboken6", "trame_slicer", "host"}


@pytest.mark.parametrize("file", GUI_FILES)
def test_the_scene_is_not_touched_by_an_import(file: str) -> None:
    for node in at_file_scope(tree(file).body):
        # of compound statements only their conditions: what is inside them comes by itself
        own = [x for x in ast.iter_child_nodes(node) if isinstance(x, ast.expr)] if hasattr(node, "body") else [node]
        names = (x for part in own for x in ast.walk(part) if isinstance(x, ast.Attribute) and x.attr in ("mrmlScene", "app"))
        touched = next(names, None)
        assert touched is None, f"{file}:{node.lineno} uses {ast.unparse(touched or node)} while it is imported"


@pytest.mark.parametrize("file", GUI_FILES)
def test_visible_texts_are_translated(file: str) -> None:
    wrong = [f"{file}:{line}  {text!r}" for line, text in visible_texts(tree(file)) if is_english(text)]
    assert not wrong, "outside _():\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('label.text = "Run"', ["Run"]),
        ('label.text = _("Run")', []),
        ('box.suffix = " mm"', [" mm"]),
        ('label.text = f"{n} voxels"', [" voxels"]),
        ('label.text = _("{n} voxels").format(n=n)', []),
        ('label.text = "{n} voxels".format(n=n)', ["{n} voxels"]),
        ('label.text = ", ".join(names)', []),
        ('label.text = _("Run") if ready else "Wait"', ["Wait"]),
        ('label.text = "Dice: " + _("none")', ["Dice: "]),
        ('form.addRow("Method", combo)', ["Method"]),
        ('combo.addItems(["one", _("two")])', ["one"]),
        ('widgets.button(_("Run"), "runButton", "Starts it")', ["Starts it"]),
        ('slicer.util.errorDisplay("No volume", windowTitle="Oh")', ["No volume", "Oh"]),
        ('raise InputError("No volume")', ["No volume"]),
        ('combo.addItem(titles["fgsm"], "fgsm")', []),
        ('tempfile.mkdtemp(prefix="runs-")', []),
    ],
)
def test_untranslated_texts_are_seen(code: str, found: list[str]) -> None:
    assert [text for _line, text in visible_texts(ast.parse(code)) if is_english(text)] == found


@pytest.mark.parametrize("file", GUI_FILES)
def test_what_is_translated_can_be_found_by_a_translator(file: str) -> None:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call) and name_of(node.func) == "_":
            (text,) = node.args
            assert not isinstance(text, (ast.JoinedStr, ast.BinOp)), f"{file}:{node.lineno}: values belong into .format()"
            if isinstance(text, ast.Constant):
                places = re.findall(r"(?<!\{)\{([^{}]*)\}", str(text.value))
                assert all(x.partition(":")[0].isidentifier() for x in places), f"{file}:{node.lineno}: unnamed place"


def test_the_host_translates_what_the_module_does() -> None:
    for file in GUI_FILES:
        uses = any(isinstance(x, ast.Call) and name_of(x.func) == "_" for x in ast.walk(tree(file)))
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not uses or "from slicer.i18n import tr as _\n" in text, f"{file} uses _ without importing it"


@pytest.mark.parametrize("file", GUI_FILES)
def test_names_are_in_camel_case(file: str) -> None:
    # a class inside a function derives from what is imported there, and has to keep its names
    inner = {id(x) for f in ast.walk(tree(file)) if is_function(f) for c in ast.walk(f) if is_class(c) for x in ast.walk(c)}
    wrong = []
    for node in (x for x in ast.walk(tree(file)) if id(x) not in inner):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith(("__", "test_")):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            names = [node.name, *(x.arg for x in arguments)]
            wrong += [f"{file}:{node.lineno}  {x}" for x in names if "_" in x.strip("_") or x[:1].isupper()]
        elif isinstance(node, ast.ClassDef) and not re.fullmatch(r"_?[A-Z][A-Za-z0-9]*", node.name):
            wrong.append(f"{file}:{node.lineno}  {node.name}")
    assert not wrong, "not in camel case:\n" + "\n".join(wrong)


@pytest.mark.parametrize("file", GUI_FILES)
def test_files_and_functions_are_short(file: str) -> None:
    assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(tree(file)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < 50, f"{file}:{node.lineno}  {node.name}"


def test_the_qt_side_is_no_package_and_the_panel_is_one() -> None:
    assert not (GUI / "__init__.py").exists()
    body = tree("SegAdversarial/SegAdversarialGui/__init__.py").body
    assert all(isinstance(x, ast.Expr) and isinstance(x.value, ast.Constant) for x in body)


@pytest.mark.parametrize("file", LIBRARY_FILES)
def test_the_library_knows_no_qt(file: str) -> None:
    everywhere = {x.partition(".")[0] for node in ast.walk(tree(file)) for x in imported(node)}
    assert not everywhere & {"qt", "ctk", "PySide6", "PythonQt", "SegAdversarialGui", "SegAdversarial"}, file
    at_import = {x.partition(".")[0] for node in at_file_scope(tree(file).body) for x in imported(node)}
    in_scene = file.startswith("SegAdversarialLib/scene/")
    assert "slicer" not in (at_import if in_scene else everywhere), file
