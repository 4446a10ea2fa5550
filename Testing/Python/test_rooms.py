"""The library's house: what lies where, and that imports run one way, between rooms and between files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest
from conftest import ROOT

LIBRARY = ROOT / "SegAdversarialLib"
PACKAGE = LIBRARY.name

# a room may import from rooms to the right of it only
ROOMS = (
    *("cli", "jobs", "studies", "defenses", "training", "scene", "attacks", "cohorts", "evaluation", "formats"),
    *("networks", "model", "phantom", "objectives", "changes", "metrics", "volumes", "structures", "showing", "arguments"),
    "errors",
)

AT_THE_ROOT = {"__init__", "__main__", "errors"}

LONGEST_FILE, LONGEST_FUNCTION = 400, 50


def dotted(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of the library, by its dotted name."""
    files = sorted(x.relative_to(ROOT).as_posix() for x in LIBRARY.rglob("*.py"))
    return {dotted(x): ast.parse((ROOT / x).read_text(encoding="utf-8")) for x in files}


def module_of(name: str) -> str:
    """The module that a dotted name lies in, or is."""
    while name not in trees() and "." in name:
        name = name.rpartition(".")[0]
    return name


def imported(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """What a module imports of the library, wherever it does, for type checkers too; with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [x.name for x in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports are not used here"
            found = [f"{node.module}.{x.name}" for x in node.names]
        else:
            continue
        yield from ((module_of(x), node.lineno) for x in found if x.partition(".")[0] == PACKAGE)


@cache
def arrows() -> dict[str, set[str]]:
    """What each module imports; a package's face, which hands names of its own files on, aside."""
    return {
        module: {x for x, _line in imported(tree) if x not in (module, PACKAGE) and not x.startswith(f"{module}.")}
        for module, tree in trees().items()
        if module not in (PACKAGE, f"{PACKAGE}.__main__")
    }


def room_of(module: str) -> str:
    return module.split(".")[1]


def test_nothing_but_the_face_the_command_and_the_errors_lies_at_the_root() -> None:
    assert {x.stem for x in LIBRARY.glob("*.py")} == AT_THE_ROOT


def test_every_room_has_its_place() -> None:
    assert {room_of(x) for x in arrows()} == set(ROOMS)


@pytest.mark.parametrize("module", sorted(arrows()))
def test_imports_run_from_one_room_to_the_next(module: str) -> None:
    for other, line in imported(trees()[module]):
        if other != PACKAGE and room_of(other) != room_of(module):
            lower = ROOMS.index(room_of(other)) > ROOMS.index(room_of(module))
            assert lower, f"{module}:{line}: {room_of(module)} must not import {room_of(other)}"


def test_no_files_know_each_other() -> None:
    try:
        TopologicalSorter(arrows()).prepare()
    except CycleError as error:
        pytest.fail("these import each other: " + " -> ".join(error.args[1]))


@pytest.mark.parametrize("module", sorted(trees()))
def test_files_and_functions_are_short(module: str) -> None:
    tree = trees()[module]
    assert max((getattr(x, "end_lineno", 0) or 0 for x in ast.walk(tree)), default=0) <= LONGEST_FILE
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION, f"{module}:{node.lineno}  {node.name}"
