"""Jobs, studies and networks' settings with anything in them are taken, or refused in a sentence; nothing is written."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_helpers import listing, run_toy, toy_job, unfinished
from fuzz_helpers import CHANGES, assert_short, edited, fuzzed, spoilt
from hypothesis import given
from hypothesis import strategies as st

from SegAdversarialLib import InputError
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.formats import describe_file
from SegAdversarialLib.jobs.specification import read_job
from SegAdversarialLib.studies.study import Study

SETTINGS = {
    "channels": ["A", "B"],
    "classes": ["background", "core", "rim"],
    "window": [16, 16, 16],
    "overlap": 0.5,
    "preprocessing": {"spacing": [1, 1, 1], "orientation": "RAS", "normalization": {"kind": "zscore"}},
    "stands_for": {"core": [1, 2]},
    "outputs": "logits",
}
JOB = {
    "kind": "attack",
    "case": {"channels": {"A": "a.nii", "B": "b.nii"}, "label": "l.nii", "name": "x"},
    "model": {"path": "net.ts", "trust": True, "changes": {"overlap": 0.3}},
    "attacks": [{"attack": "fgsm", "epsilon": 0.1}, {"attack": "pgd", "steps": 2, "region": "label"}],
    "output": "out",
    "regions": {"core": [1]},
}
STUDY = """study: one
cohort: {cohort: phantom:0-1@32, cases: 2}
networks:
  unet: builtin:brain-tumour-phantom
  other: {path: builtin:brain-tumour-phantom, changes: {overlap: 0.3}}
attacks:
  - attack: fgsm
    epsilon: 0.05
    networks: [unet]
  - attack: pgd
    steps: [1, 2]
regions: {tumour: [1, 2]}
keep: tables
"""

JUNK = st.sampled_from(
    [None, True, 0, -1, 1e308, float("inf"), float("nan"), 10**30, "", "..", "../../x", "/", "\0", "a\nb", "\ud800", "é" * 300]
    + [[], {}, [[]], {"a": 1}, ["a"] * 50, "1" * 5000, [None], {"": {}}, 1 << 63]
)
EDITS = st.lists(st.tuples(st.floats(0, 0.999), st.sampled_from(["set", "drop", "add", "name"]), JUNK), min_size=1, max_size=3)


def text_of(data: Any, changes: list[Any]) -> bytes:
    written = json.dumps(data).encode()
    return spoilt(written, changes, len(written)) if changes else written


@fuzzed(120)
@given(EDITS, st.just([]) | CHANGES)
def test_job_files(edits: Any, changes: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "job.json"
        path.write_bytes(text_of(edited(JOB, edits), changes))
        try:
            read_job(path).anywhere()
        except InputError as error:
            assert_short(error)
        assert [x.name for x in Path(place).iterdir()] == ["job.json"]


@fuzzed(120)
@given(EDITS, st.just([]) | CHANGES)
def test_settings_of_networks(edits: Any, changes: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        torch.jit.script(torch.nn.Conv3d(2, 3, 1)).save(str(Path(place) / "net.ts"))
        (Path(place) / "net.json").write_bytes(text_of(edited(SETTINGS, edits), changes))
        before = listing(Path(place))
        try:
            describe_file(str(Path(place) / "net.ts")).output_head()
        except InputError as error:
            assert_short(error)
        assert listing(Path(place)) == before


@pytest.mark.parametrize("key", ["head", "outputs", "channels"])
def test_half_a_character(key: str, tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Conv3d(2, 3, 1)).save(str(tmp_path / "net.ts"))
    (tmp_path / "net.json").write_text(json.dumps({**SETTINGS, key: "\ud800"}))
    with pytest.raises(InputError, match="net"):
        describe_file(str(tmp_path / "net.ts"))


@fuzzed(120)
@given(CHANGES)
def test_study_files(changes: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "one.yaml"
        path.write_bytes(spoilt(STUDY.encode(), changes, len(STUDY)))
        try:
            Study.read(path)
        except InputError as error:
            assert_short(error)
        assert [x.name for x in Path(place).iterdir()] == ["one.yaml"]


@pytest.mark.parametrize("bracket", ["[", "{", "- "])
def test_brackets_in_brackets(bracket: str, tmp_path: Path) -> None:
    """PyYAML's time grows with the square of the depth; nobody waits for it."""
    (tmp_path / "one.yaml").write_text(f"study: {bracket * 20000}" if bracket != "- " else "- " * 20000)
    with pytest.raises(InputError):
        Study.read(tmp_path / "one.yaml")


NAMES = ["../../x", "..", "/etc/x", "a/b", "a\\b", "C:x", "\0", "a\nb", ".", "~", "con", "é" * 100, "$(touch x)", "%s"]


@pytest.mark.parametrize("name", NAMES)
def test_names_lead_nowhere_else(name: str, tmp_path: Path) -> None:
    """Of the case, of a channel, of an attack, of a region: what is written lies in the output folder."""
    job = toy_job(tmp_path, {"attack": "fgsm", "name": name})
    job = job.model_copy(update={"case": job.case.model_copy(update={"name": name}), "regions": {name: (1,)}})
    before = set(tmp_path.parent.rglob("*"))
    try:
        run_toy(job)
    except (InputError, Cancelled) as error:
        assert_short(error)
    new = set(tmp_path.parent.rglob("*")) - before
    assert all((tmp_path / "out") in (x, *x.parents) for x in new) and not unfinished(tmp_path)
