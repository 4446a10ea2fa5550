"""The pages in docs/: Python blocks run as they stand there, and commands are commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT

from SegAdversarialLib import attacks, recipes
from SegAdversarialLib.attacks.groups import DESCRIPTIONS
from SegAdversarialLib.cli import COMMANDS
from SegAdversarialLib.cli.arguments import build_parser

DOCS = ROOT / "docs"
COMMAND_LINE, PYTHON = ((DOCS / name).read_text(encoding="utf-8") for name in ("command-line.md", "python.md"))


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_the_python_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(PYTHON, "python"):
        exec(compile(block, "docs/python.md", "exec"), names)
    printed = capsys.readouterr().out
    # what the page says is printed; dots stand for what differs from machine to machine
    for line in (line for block in blocks(PYTHON, "text") for line in block.splitlines()):
        assert re.search(re.escape(line).replace(r"\.\.\.", ".*"), printed), line


def test_the_commands_are_commands() -> None:
    words = [shlex.split(line, comments=True) for block in blocks(COMMAND_LINE, "sh") for line in block.splitlines()]
    assert len(words) > 4
    for command in words:
        assert command[0] == "segadversarial"
        options = build_parser().parse_args(command[1:])
        for name in getattr(options, "attack", None) if isinstance(getattr(options, "attack", None), list) else ():
            assert name in attacks.GROUPS or attacks.attack_class(name)
    listed = re.findall(r"^\| `([\w-]+)` \|", COMMAND_LINE.split("## ")[0], re.MULTILINE)
    assert sorted(listed) == sorted([*COMMANDS, "worker"])
    groups = dict(re.findall(r"^\| `([\w-]+)` \| (.*) \|$", COMMAND_LINE.partition("| group |")[2], re.MULTILINE))
    assert list(groups) == list(DESCRIPTIONS)


def test_the_page_on_defences_names_every_recipe() -> None:
    page = (DOCS / "defenses.md").read_text(encoding="utf-8")
    names = {"recipes": recipes}
    for block in blocks(page, "python"):
        exec(compile(block, "docs/defenses.md", "exec"), names)
    assert isinstance(names["recipe"], recipes.AdversarialTraining)
    table = [x for x in re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE) if x != "..."]
    assert sorted(table) == sorted(recipes.RECIPES)
