"""What can be set under `preprocessing`: the settings say it, and the command line, the messages and the page repeat it."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from SegAdversarialLib import InputError
from SegAdversarialLib.cli import main
from SegAdversarialLib.cli.info import SettingTable, preprocessing_tables
from SegAdversarialLib.formats import describe_file
from SegAdversarialLib.model import crop, normalization
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.model.resampling import Resampling

PAGE = Path(__file__).resolve().parents[2] / "docs" / "preprocessing.md"


def kinds_in(module: ModuleType) -> dict[str, type[BaseModel]]:
    models = [x for x in vars(module).values() if isinstance(x, type) and issubclass(x, BaseModel)]
    return {x.model_fields["kind"].default: x for x in models if "kind" in x.model_fields}


KINDS, CROPS = kinds_in(normalization), kinds_in(crop)
NEEDED: dict[str, dict[str, Any]] = {
    "chain": {"steps": [{"kind": "zscore"}]},
    "squash": {"function": "tanh"},
    "fixed": {"transform": "MedianSmooth"},
}
"""What must be given of those that have no settings of their own to fall back on."""
TABLES: dict[str, type[BaseModel]] = {
    "preprocessing": Preprocessing,
    **{f'crop, "kind": "{kind}"': model for kind, model in CROPS.items()},
    "resampling, output_resampling": Resampling,
    **{f'normalization, "kind": "{kind}"': model for kind, model in KINDS.items()},
}


def as_markdown(table: SettingTable) -> str:
    rows = [f"| `{x.name}` | {x.values} | `{x.default}` | {x.meaning} |" for x in table.rows]
    head = ["| setting | may be | unless given | means |", "|---|---|---|---|"] if rows else []
    return "\n".join([f"## {table.title}", "", table.meaning, *([""] if rows else []), *head, *rows])


def test_the_page_has_the_tables_of_the_settings() -> None:
    expected = "\n\n".join(map(as_markdown, preprocessing_tables())) + "\n"
    found = PAGE.read_text(encoding="utf-8").partition("-->\n\n")[2]
    assert found == expected, f"docs/preprocessing.md must end in:\n\n{expected}"


def test_the_tables_leave_nothing_out() -> None:
    tables = preprocessing_tables()
    assert [x.title for x in tables] == list(TABLES) and len(KINDS) >= 4 and len(CROPS) >= 3
    for table, model in zip(tables, TABLES.values()):
        assert [x.name for x in table.rows] == [name for name in model.model_fields if name != "kind"]
        for row in table.rows:
            field = model.model_fields[row.name]
            stored = model.model_json_schema()["properties"][row.name]
            assert row.meaning == field.description and row.values
            assert row.default == "must be given" if field.is_required() else json.loads(row.default) == stored["default"]


def test_the_values_in_words() -> None:
    rows = {(table.title, row.name): row.values for table in preprocessing_tables() for row in table.rows}
    assert rows["preprocessing", "size"] == "3 whole numbers or null" and rows["preprocessing", "axes"] == "a text"
    assert rows["preprocessing", "spacing"] == "3 numbers (each may be null) or null"
    assert rows["preprocessing", "order"] == '3 of "crop", "resample" and "normalize"'
    assert rows["preprocessing", "crop"] == f"an object with a kind ({', '.join(CROPS)}), or null"
    assert rows['crop, "kind": "foreground"', "channels"] == "a list of whole numbers or null"
    assert rows["resampling, output_resampling", "order_through"] == "0, 1 or 3, or null"
    assert rows["preprocessing", "normalization"] == f"an object with a kind ({', '.join(KINDS)}), a list of such, or null"
    assert rows['normalization, "kind": "zscore"', "mask"] == '"all", "positive", "nonzero", "above_mean" or "filled"'
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
    right = {"kind": kind, **NEEDED.get(kind, {})}
    for wrong in ({**right, "of": 1}, [right, {**right, "of": 1}]):
        assert f"{kind}.of; there are {names}." in refused(wrong)
