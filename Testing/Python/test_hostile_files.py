"""Hostile files through the library, the command line and the worker: each is refused by a sentence that names why, or opens
as plain data, and nothing that stands in it ever runs."""

from __future__ import annotations

import json
import pickle
import re
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fault_helpers import assert_sentence
from hostile_helpers import NETWORKS, RUNS, YAML_TAG, Canary, Hostile

from SegAdversarialLib import Case, InputError, attacks, cohorts, open_model
from SegAdversarialLib.cli import main
from SegAdversarialLib.formats import describe_file
from SegAdversarialLib.formats.verdicts import imports, verdict
from SegAdversarialLib.jobs.worker import Request, Worker
from SegAdversarialLib.scene import read_scene
from SegAdversarialLib.studies.store import Store
from SegAdversarialLib.training.checkpoints import Checkpoint
from SegAdversarialLib.volumes.writing import write_volume

KINDS = pytest.mark.parametrize("kind", NETWORKS.values(), ids=NETWORKS)


@pytest.fixture
def canary(tmp_path: Path) -> Any:
    """What must not sing: checked after each test."""
    made = Canary(tmp_path / "canary")
    yield made
    assert not made.path.exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def test_the_canary_would_sing(tmp_path: Path) -> None:
    """Without guards: the tests could fail."""
    made = Canary(tmp_path / "canary")
    pickle.loads(pickle.dumps(made)).close()
    assert made.path.exists()
    made.path.unlink()
    torch.save({"weights": made}, tmp_path / "net.pt")
    torch.load(tmp_path / "net.pt", weights_only=False)["weights"].close()
    assert made.path.exists()
    made.path.unlink()
    eval(made.code).close()
    assert made.path.exists() and re.search(RUNS, verdict(tmp_path / "net.pt"))


def refused(kind: Hostile, message: str) -> None:
    assert_sentence(message)
    assert re.search(kind.why, message, re.DOTALL), message


@KINDS
def test_the_library(kind: Hostile, folder: Path, canary: Canary) -> None:
    path = kind.make(folder, canary)
    before = sorted(folder.parent.rglob("*"))
    for trust in (False, True):
        try:
            model = open_model(path, trust=trust, device="cpu")
        except InputError as error:
            if trust is False:
                refused(kind, str(error))
            else:
                assert_sentence(str(error))
                assert kind.even_trusted
        else:
            assert not kind.why or (trust and not kind.even_trusted), kind.why
            assert model.channels == ("CT",)
        assert not canary.path.exists()
    assert sorted(folder.parent.rglob("*")) == before


@KINDS
def test_what_is_said_of_it_runs_nothing(kind: Hostile, folder: Path, canary: Canary) -> None:
    """What the panel does in Slicer's own process: describe, scan, sum."""
    path = kind.make(folder, canary)
    for look in (describe_file, verdict, imports):
        try:
            look(path)
        except InputError as error:
            assert_sentence(str(error))
        assert not canary.path.exists(), look


@KINDS
def test_the_command_that_describes(kind: Hostile, folder: Path, canary: Canary, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["info", str(kind.make(folder, canary))])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    if status == 0:
        unopened = "not opened here (--trust)" in said.out or re.search("^opens: +no$", said.out, re.MULTILINE)
        assert ("parameters" in said.out) is not bool(kind.why) and bool(unopened) is bool(kind.why)
    else:
        assert status == 2 and kind.why and re.search(kind.why, said.err, re.DOTALL), said.err


@pytest.mark.slow
@KINDS
def test_a_command_that_opens(kind: Hostile, folder: Path, canary: Canary, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = kind.make(folder, canary), folder.parent / "out"
    # one that opens has other classes than the phantom
    case = [f"--channel={x}={a_scan(folder.parent)}" for x in ("CT", "T1")] if kind.why else ["--phantom=7"]
    assert main(["segment", f"--model={path}", *case, "--device=cpu", f"--output={out}"]) == 2 and not out.exists()
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert re.search(kind.why or "which class of the network is meant", said, re.DOTALL), said


@KINDS
def test_the_worker(kind: Hostile, folder: Path, canary: Canary) -> None:
    events: list[dict[str, Any]] = []
    request = Request("1", "network", {"model": {"path": str(kind.make(folder, canary)), "device": "cpu"}})
    Worker(events.append).answer(request)
    end = events[-1]
    assert end["id"] == "1" and (end["event"], end.get("kind")) == (("error", "input") if kind.why else ("done", None)), end
    if kind.why:
        refused(kind, end["message"])


def a_scan(folder: Path) -> Path:
    """A volume that any network of one channel could take."""
    path = folder / "scan.nii.gz"
    write_volume(path, np.zeros((16, 16, 16), np.float32), np.eye(4))
    return path


def pickled(path: Path, canary: Canary) -> Path:
    path.write_bytes(pickle.dumps(canary))
    return path


def as_torch(path: Path, canary: Canary) -> Path:
    torch.save({"run": "{}", "rows": "[]", "states": {"network": canary}}, path)
    return path


def as_array(path: Path, canary: Canary) -> Path:
    np.save(path.with_suffix(".npy"), np.array([canary], dtype=object))
    path.with_suffix(".npy").rename(path)
    return path


WRITERS = pytest.mark.parametrize("write", [pickled, as_torch, as_array])
Write = Callable[[Path, Canary], Path]


@WRITERS
@pytest.mark.parametrize(
    "name", ["image.nii.gz", "image.nii", "image.nrrd", "image.mha", "image.npy", "image.npz", "image.dcm"]
)
def test_images(write: Write, name: str, folder: Path, canary: Canary, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(folder / name, canary)
    with pytest.raises(InputError, match=re.escape(name)) as error:
        Case.read({"T1": path})
    assert_sentence(str(error.value))
    assert main(["segment", "--channel", f"T1={path}", "--output", str(folder / "out")]) == 2
    assert not (folder / "out").exists() and "Traceback" not in capsys.readouterr().err


@WRITERS
@pytest.mark.parametrize(
    "open_it",
    [
        lambda path: attacks.GenerativeAttack(generator=str(path)),
        lambda path: attacks.UniversalPerturbation(perturbation=str(path)),
    ],
    ids=["generator", "perturbation"],
)
def test_what_was_learned(write: Write, open_it: Any, folder: Path, canary: Canary) -> None:
    path = write(folder / "learned.safetensors", canary)
    model = open_model("builtin:brain-tumour-phantom", device="cpu")
    from SegAdversarialLib.phantom import subject

    with pytest.raises(ValueError, match="damaged or something else"):
        open_it(path).check(model, subject(shape=(32, 32, 32)))


@WRITERS
def test_a_training_is_not_gone_on_with(write: Write, folder: Path, canary: Canary) -> None:
    write(folder / "checkpoint.pt", canary)
    with pytest.raises(InputError, match="The checkpoint .* is damaged .*remove it to begin again") as error:
        Checkpoint(folder, {}).check()
    assert_sentence(str(error.value))


@WRITERS
def test_a_studys_store(write: Write, folder: Path, canary: Canary) -> None:
    path = write(folder / "study.sqlite", canary)
    with pytest.raises(InputError, match="study.sqlite"), Store.open(path, reading=True):
        pass


def test_a_studys_store_with_pickles_in_it(folder: Path, canary: Canary) -> None:
    """What it says of itself is JSON: whatever else stands there is damaged."""
    with Store.open(folder / "study.sqlite", "hostile"):
        pass
    connection = sqlite3.connect(folder / "study.sqlite")
    for name in ("skipped", "notes"):
        connection.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, pickle.dumps(canary)))
    connection.commit()
    connection.close()
    with Store.open(folder / "study.sqlite", reading=True) as store:
        for read in (store.skipped, store.notes):
            with pytest.raises(InputError, match="study.sqlite is damaged: something in it is no JSON"):
                read()


def test_study_files(folder: Path, canary: Canary, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "study.yaml"
    lines = ["study: x", "cohort: phantom:1@32", "networks: {net: builtin:brain-tumour-phantom}"]
    path.write_text("\n".join([*lines, YAML_TAG.replace("CANARY", str(canary.path))]))
    assert main(["study", "plan", str(path)]) == 2
    said = capsys.readouterr().err
    assert "study.yaml" in said and "Traceback" not in said
    path.write_text("\n".join([*lines, "attacks: [{attack: !!python/name:os.system }]"]))
    assert main(["study", "plan", str(path)]) == 2 and "study.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("said", ["", ", trust: true"])
def test_a_study_or_job_does_not_trust_its_own_program(
    said: str, folder: Path, canary: Canary, capsys: pytest.CaptureFixture[str]
) -> None:
    net = NETWORKS["TorchScript data.pkl"].make(folder, canary)
    study = folder / "study.yaml"
    study.write_text(
        f"study: x\ncohort: phantom:1@32\nnetworks: {{net: {{path: net.ts{said}}}}}\nattacks: [fgsm]\naudit: false\n"
    )
    for action in ("plan", "run"):
        assert main(["study", action, str(study)]) == 2
        message = capsys.readouterr().err
        assert "net.ts is a program" in message and "--trust" in message
    job = {"kind": "segment", "case": {"channels": {"CT": str(a_scan(folder))}}, "output": str(folder / "out")}
    (folder / "job.json").write_text(json.dumps({**job, "model": {"path": str(net), "trust": bool(said)}}))
    assert main(["run", str(folder / "job.json")]) == 2 and "if you trust its source" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../canary", "/canary", "files/../../canary"])
@pytest.mark.parametrize("kind", [0, 0o120777])
def test_scenes(name: str, kind: int, folder: Path, canary: Canary) -> None:
    pytest.importorskip("slicer")
    path = folder / "scene.mrb"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("scene/scene.mrml", "<MRML></MRML>")
        info = zipfile.ZipInfo("x")
        info.filename, info.external_attr = name if not kind else "scene/link", kind << 16
        archive.writestr(info, str(canary.path))
    with pytest.raises(InputError, match="scene.mrb is not opened: its member"):
        read_scene(path)


@WRITERS
def test_results(write: Write, folder: Path, canary: Canary) -> None:
    from SegAdversarialLib.jobs.results import read_attack

    case = Case(np.zeros((1, 2, 2, 2), np.float32), ("T1",), np.eye(4))
    write(folder / "result.json", canary)
    with pytest.raises(InputError) as error:
        read_attack(folder, case)
    assert_sentence(str(error.value))


@WRITERS
def test_lists_of_cases(write: Write, folder: Path, canary: Canary, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(folder / "cases.csv", canary)
    with pytest.raises(InputError) as error:
        cohorts.find(f"csv:{path}")
    assert_sentence(str(error.value))
    (folder / "dataset.json").write_bytes(path.read_bytes())
    with pytest.raises(InputError):
        cohorts.find(folder)
    words = ["audit", "--case", str(write(folder / "case.json", canary)), "--output", str(folder / "out")]
    assert main(words) == 2
    assert "Traceback" not in capsys.readouterr().err


PAGE = {
    "checkpoint": [
        "zip checkpoint",
        "zip checkpoint among weights",
        "legacy checkpoint",
        "nnU-Net checkpoint",
        "nnU-Net archive",
        "nnU-Net folder",
    ]
    + ["Lightning", "Auto3DSeg", "bundle's weights"],
    "pickle of another kind": ["plain pickle", "whole network"],
    "NumPy arrays": ["npy", "npz", test_images],
    "safetensors": ["safetensors' metadata"],
    "TorchScript": ["TorchScript data.pkl", "TorchScript constants.pkl"],
    "`.pt2`": ["pt2 sample"],
    "nnU-Net's plans": ["nnU-Net network class", "nnU-Net layer"],
    "settings": [x for x in NETWORKS if x.startswith("sidecar")],
    "MONAI bundle's configuration": [
        x for x in NETWORKS if x.startswith("bundle") and "archive, " not in x and "weights" not in x
    ]
    + ["bundle's archive, an expression"],
    "archive": [
        "nnU-Net archive, outside",
        "nnU-Net archive, absolute",
        "nnU-Net archive, a link",
        "bundle's archive, outside",
        "bundle's archive, absolute",
        "bundle's archive, a link",
        test_scenes,
    ],
    "images, lists of cases": [test_images, test_lists_of_cases],
    "learned files": [test_what_was_learned, test_a_training_is_not_gone_on_with],
    "study's store, results": [test_a_studys_store, test_a_studys_store_with_pickles_in_it, test_results],
    "study file, job file": [test_study_files, test_a_study_or_job_does_not_trust_its_own_program],
}
"""What in the first column of the page's table is tried by which files."""


def test_the_page_says_what_is_tried() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "trust.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == len(PAGE) and all(row.startswith(key) for row, key in zip(rows, PAGE)), rows
    tried = [x for row in PAGE.values() for x in row if isinstance(x, str)]
    assert sorted(tried) == sorted(NETWORKS)
