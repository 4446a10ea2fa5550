"""Settings that a TorchScript file holds beside its program (torch.jit.save with _extra_files): read without running it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from SegAdversarialLib import InputError, open_model
from SegAdversarialLib.formats import describe_file

OURS: dict[str, Any] = {
    "channels": ["CT"],
    "classes": {"0": "background", "3": "liver"},
    "stands_for": {"liver": [3, 4]},
    "preprocessing": {"orientation": "RAS"},
    "window": [8, 8, 8],
}


def saved(path: Path, **extra: Any) -> Path:
    """A program with files in it; `a_json` stands for a.json."""
    torch.manual_seed(0)
    network = torch.jit.script(torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1)).eval())
    files = {name.replace("_json", ".json"): x if isinstance(x, str) else json.dumps(x) for name, x in extra.items()}
    torch.jit.save(network, str(path), _extra_files=files)
    return path


@pytest.mark.parametrize("name", ["model_json", "metadata_json", "network_json"])
def test_a_program_that_says_all_needs_no_file_beside_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "net.ts", **{name: OURS})
    load = torch.jit.load
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("it was opened"))
    known = describe_file(path)
    assert (known.channels, known.window, known.preprocessing.orientation) == (("CT",), (8, 8, 8), "RAS")
    assert [(x.label, x.name, x.stands_for) for x in known.classes] == [(0, "background", (0,)), (3, "liver", (3, 4))]
    assert known.needs_trust and known.content.startswith("a TorchScript file with settings in it (channels, classes")
    with pytest.raises(InputError, match="if you trust its source"):
        open_model(path)
    monkeypatch.setattr(torch.jit, "load", load)
    assert open_model(path, trust=True, device="cpu").window == (8, 8, 8)
    assert describe_file(tmp_path).window == (8, 8, 8)  # the folder's one network


def test_a_file_beside_it_wins_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = saved(tmp_path / "net.ts", model_json=OURS)
    (tmp_path / "net.json").write_text(json.dumps({"window": [4, 4, 4], "channels": ["CT"], "classes": ["none", "kidney"]}))
    (tmp_path / "other.json").write_text(json.dumps({"overlap": 0.25, "weights": "net.ts"}))
    with caplog.at_level(logging.WARNING):
        model = open_model(path, trust=True, device="cpu")
    assert (model.window, model.head.names, model.head.regions) == ((4, 4, 4), ("none", "kidney"), ((0,), (1,)))
    assert model.preprocessing.orientation == "RAS"  # of which the file beside it says nothing
    said = "net.ts says another classes and stands_for and window by itself; what net.json says counts."
    assert [x.getMessage() for x in caplog.records] == [said]
    caplog.clear()
    named = open_model(tmp_path / "other.json", trust=True, device="cpu")
    assert (named.window, named.windows.overlap) == ((8, 8, 8), 0.25) and not caplog.records
    assert open_model(path, trust=True, device="cpu", settings=tmp_path / "other.json", window=[6, 6, 6]).window == (6, 6, 6)


def test_what_names_other_files_or_is_no_setting_of_ours_is_left_out(tmp_path: Path) -> None:
    files = {"weights": "../elsewhere.ts", "members": ["a", "b"], "network": {"name": "UNet"}}
    more = {**files, "version": "1.2", "format": "monai"}
    path = saved(tmp_path / "net.ts", model_json={**OURS, **more})
    assert describe_file(path).channels == ("CT",) and describe_file(path).members == ()
    for extra in ({"x_json": {"author": "me"}}, {"x_json": "{"}, {"x_json": "[" * 100_000}, {"x_json": "[1]"}):
        with pytest.raises(InputError, match="not known which channels and classes"):
            describe_file(saved(tmp_path / "plain.ts", **extra))


def test_a_misspelt_setting_in_it_is_told_as_one_beside_it(tmp_path: Path) -> None:
    said = {key: x for key, x in OURS.items() if key != "window"}
    path = saved(tmp_path / "net.ts", model_json={**said, "windw": [8, 8, 8], "weight": "x.pt", "version": "1.2"})
    for call in (describe_file, lambda x: open_model(x, trust=True, device="cpu")):
        with pytest.raises(InputError, match="Settings of the network net.ts: there is no setting windw; there are .*window"):
            call(path)
    assert describe_file(path, window=(6, 6, 6)).window == (6, 6, 6)
    (tmp_path / "net.json").write_text(json.dumps({"window": [4, 4, 4]}))
    assert describe_file(path).window == (4, 4, 4)


def test_a_wrong_setting_in_it_is_told_and_can_be_mended_beside_it(tmp_path: Path) -> None:
    path = saved(tmp_path / "net.ts", model_json={**OURS, "window": "large"})
    with pytest.raises(InputError, match="Settings of the network net.ts: .*window"):
        describe_file(path)
    (tmp_path / "net.json").write_text(json.dumps({"window": [4, 4, 4]}))
    assert describe_file(path).window == (4, 4, 4)
