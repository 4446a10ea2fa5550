"""What can be set under `preprocessing`: the settings say it, and the command line, the messages and the page repeat it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from SegAdversarialLib import InputError
from SegAdversarialLib.cli import main
from SegAdversarialLib.cli.info import SettingTable, preprocessing_tables
from SegAdversarialLib.formats import describe_file
from SegAdversarialLib.model import preprocessing
from SegAdversarialLib.model.preprocessing import Preprocessing

PAGE = Path(__file__).resolve().parents[2] / "docs" / "preprocessing.md"
KINDS: dict[str, type[BaseModel]] = {
    x.model_fields["kind"].default: x
    for x in vars(preprocessing).values()
    if isinstance(x, type) and issubclass(x, BaseModel) and "kind" in x.model_fields
}


def as_markdown(table: SettingTable) -> str:
    rows = [f"| `{x.name}` | {x.values} | `{x.default}` | {x.meaning} |" for x in table.rows]
    return "\n".join(
        [f"## {table.title}", "", table.meaning, "", "| setting | may be | unless given | means |", "|---|---|---|---|", *rows]
    )


def test_the_page_has_the_tables_of_the_settings() -> None:
    expected = "\n\n".join(map(as_markdown, preprocessing_tables())) + "\n"
    found = PAGE.read_text(encoding="utf-8").partition("-->\n\n")[2]
    assert found == expected, f"docs/preprocessing.md must end in:\n\n{expected}"


def test_the_tables_leave_nothing_out() -> None:
    first, *others = preprocessing_tables()
    assert [x.name for x in first.rows] == list(Preprocessing.model_fields)
    named = [re.search(r'"kind": "(\w+)"', x.title) for x in others]
    assert [x[1] for x in named if x] == list(KINDS) and len(KINDS) >= 3
    for table, model in zip(others, KINDS.values()):
        assert ["kind", *(x.name for x in table.rows)] == list(model.model_fields)
        for row in table.rows:
            field = model.model_fields[row.name]
            assert json.loads(row.default) == field.default and row.meaning == field.description and row.values


def test_the_values_in_words() -> None:
    rows = {(table.title, row.name): row.values for table in preprocessing_tables() for row in table.rows}
    assert rows["preprocessing", "spacing"] == "3 numbers or null" and rows["preprocessing", "axes"] == "a text"
    assert rows["preprocessing", "normalization"] == f"an object with a kind ({', '.join(KINDS)}), a list of such, or null"
    assert rows['normalization, "kind": "zscore"', "mask"] == '"all", "positive", "nonzero" or "above_mean"'
    assert rows['normalization, "kind": "rescale"', "low"] == "a number, at least 0, below 100"
    assert rows['normalization, "kind": "rescale"', "clip"] == "true or false"


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--preprocessing"]) == 0
    shown = capsys.readouterr().out
    for table in preprocessing_tables():
        assert table.title in shown and all(f"{x.name} = {x.default}" in shown and x.meaning in shown for x in table.rows)
    assert main(["info", "--preprocessing", "--events"]) == 0
    assert json.loads(capsys.readouterr().out)["preprocessing"] == Preprocessing.model_json_schema()


@pytest.mark.parametrize("kind", KINDS)
def test_messages_name_what_can_be_set(kind: str) -> None:
    def refused(normalization: Any) -> str:
        with pytest.raises(InputError) as caught:
            describe_file("builtin:brain-tumour-phantom", preprocessing={"normalization": normalization})
        return str(caught.value)

    for wrong in ({"kind": "z"}, {}):
        assert all(f"'{x}'" in refused(wrong) for x in KINDS)
    names = ", ".join(KINDS[kind].model_fields)
    for wrong in ({"kind": kind, "of": 1}, [{"kind": kind}, {"kind": kind, "of": 1}]):
        assert f"{kind}.of; there are {names}." in refused(wrong)
