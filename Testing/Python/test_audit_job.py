"""An audit as a job and as a command, on files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from audit_helpers import Saturated, a_case, trained

from SegAdversarialLib import InputError
from SegAdversarialLib.cli import main
from SegAdversarialLib.jobs import make_job, read_job, run
from SegAdversarialLib.jobs.word_on_trust import in_users_word

FEW = {"epsilons": 0.1, "steps": 2, "queries": 0, "temperatures": "auto", "losses": "soft_dice", "directions": 2}


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> dict[str, Any]:
    """A network, one that hides its gradients, and a case."""
    written = a_case().write(tmp_path / "subject")
    case = {"channels": {x: str(written[x]) for x in "AB"}, "label": str(written["label"])}
    (tmp_path / "case.json").write_text(json.dumps(case))
    settings = {"channels": ["A", "B"], "classes": {"0": "background", "1": "core", "2": "rim"}}
    for name, network in (("honest", trained()), ("saturated", Saturated())):
        torch.jit.trace(network, torch.zeros(1, 2, 16, 16, 16)).save(str(tmp_path / f"{name}.ts"))
        (tmp_path / f"{name}.json").write_text(json.dumps(settings))
    return {"case": case, "folder": tmp_path}


def test_a_job_writes_what_the_call_finds(files: dict[str, Any]) -> None:
    folder, events = files["folder"], list[dict[str, Any]]()
    source = {"path": str(folder / "honest.ts"), "trust": True, "device": "cpu"}
    data = {"kind": "audit", "model": source, "surrogate": source, "cases": [files["case"]], "output": str(folder / "out")}
    rows = run(make_job({**data, "settings": FEW}), events.append)
    record = json.loads((folder / "out" / "result.json").read_text(encoding="utf-8"))
    assert [x["epsilon"] for x in rows] == [x["epsilon"] for x in record["epsilons"]] == [0, 0.1, 1]
    assert {x["check"]: x["verdict"] for x in record["audit"]}["transfer"] != "not applicable"
    kinds = [x["event"] for x in events]
    assert kinds[-1] == "result" and {"progress", "log"} < set(kinds)
    assert any("attacks on each of 1 case" in x.get("message", "") for x in events)
    fractions = [x["fraction"] for x in events if x["event"] == "progress"]
    assert fractions == sorted(fractions) and fractions[-1] <= 1
    job = read_job(folder / "out" / "job.json")
    assert job.surrogate.path == str(folder / "honest.ts")
    assert not job.model.trust and not job.surrogate.trust  # no result says that a program is trusted
    assert run(in_users_word(job, True)) == rows
    with pytest.raises(InputError, match="no setting cancel"):
        make_job({**data, "settings": {"cancel": 1}})


def test_the_command_names_what_it_finds(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder = files["folder"]
    words = ["audit", "--case", str(folder / "case.json"), "--trust", "--device", "cpu", "--epsilon", "0.1"]
    words += [f"--set={key}={value}" for key, value in FEW.items() if key != "epsilons"]
    words += ["--output", str(folder / "out"), "--model", str(folder / "saturated.ts")]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "WARN No gradient masking" in said.err and "audited" in said.out
    tables = [line for line in (said.err + said.out).splitlines() if line.split()[:1] == ["epsilon"]]
    assert len(tables) == 1 and said.err.rstrip().endswith("by epsilon:")
    assert (folder / "out" / "checks.csv").read_text().startswith("check,verdict,number,sentence\n")
    assert main([*words, "--set", "epsilons=0.2"]) == 2 and "epsilons is given twice" in capsys.readouterr().err
    assert main([*words, "--set", "stepz=3"]) == 2 and "nearest name is steps" in capsys.readouterr().err
    assert main([*words[:-1], str(folder / "none.ts")]) == 2
