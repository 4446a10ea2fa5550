"""The page on training: its Python runs as it stands there, its commands are commands, and it names every setting's choice."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from test_docs import DOCS, blocks

from SegAdversarialLib.cli.arguments import build_parser
from SegAdversarialLib.cli.pairs import settings_of
from SegAdversarialLib.training.settings import TrainingSettings

PAGE = (DOCS / "training.md").read_text(encoding="utf-8")


def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks(PAGE, "python"):
        exec(compile(block, "docs/training.md", "exec"), names)
    assert (tmp_path / "trained" / "training.csv").is_file()


def test_commands_are_commands() -> None:
    lines = [line for block in blocks(PAGE, "sh") for line in block.replace("\\\n", " ").splitlines()]
    assert len(lines) == 3
    for line in lines:
        command, *words = shlex.split(line)
        assert command == "segadversarial"
        options = build_parser().parse_args(words)
        if options.command == "train":
            TrainingSettings(**settings_of(options.set, "SETTING=VALUE"))


@pytest.mark.parametrize("name", ["optimizer", "schedule", "loss", "augmentation", "precision"])
def test_all_choices_are_named(name: str) -> None:
    for choice in TrainingSettings.model_json_schema()["properties"][name]["enum"]:
        assert f"`{choice}`" in PAGE
