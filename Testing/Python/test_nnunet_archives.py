"""What nnUNetv2_export_model_to_zip writes: read in its archive, with the answers of the folder that it was made of."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_helpers import NETWORKS, files_for
from hostile_helpers import packed
from nnunet_helpers import write_checkpoint, write_folder

from SegAdversarialLib import Case, InputError, attacks, export_network, open_model
from SegAdversarialLib.cli import main
from SegAdversarialLib.formats import describe_file, places
from SegAdversarialLib.formats.nnunet import describe
from SegAdversarialLib.formats.source import ModelSource
from SegAdversarialLib.formats.unopened import NotOpened
from SegAdversarialLib.jobs.identity import fingerprints
from SegAdversarialLib.jobs.worker import Request, Worker

NAME = "nnUNetTrainer__nnUNetPlans__3d_fullres"
SLICES = NAME.replace("3d_fullres", "2d")
DATASET = "Dataset011_Liver"


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> Path:
    """Folds 0 and 2 of one network, under the names that nnU-Net 2.8.1 gives, and with what it puts beside them."""
    folder = write_folder(tmp_path / NAME, folds=("0", "2"))
    for fold in ("fold_0", "fold_2"):
        (folder / fold / "validation").mkdir()
        for name in ("debug.json", "progress.png", "validation/summary.json"):
            (folder / fold / name).write_text("{}")
    (folder / "dataset_fingerprint.json").write_text("{}")
    return packed(folder, tmp_path / "exported.zip")


def added(archive: Path, folder: Path) -> Path:
    """The archive with another network in it."""
    with zipfile.ZipFile(archive, "a") as opened:
        for path in sorted(x for x in folder.rglob("*") if x.is_file()):
            opened.write(path, f"{DATASET}/{path.relative_to(folder.parent).as_posix()}")
    return archive


def kept(name: str, folder: Path) -> Path:
    """A network that nnU-Net trained, as it exports it."""
    configuration = {"nnunet-slices": SLICES}.get(name, NAME)
    shutil.copytree(NETWORKS / name, folder / configuration, ignore=shutil.ignore_patterns("cases", "predicted"))
    return packed(folder / configuration, folder / "net.zip")


@pytest.mark.parametrize("name", ["nnunet-slices", "nnunet-regions"])
def test_answer_and_gradient_are_those_of_the_folder(name: str, tmp_path: Path) -> None:
    """2D and 3D, without trust; what it writes is what the folder writes, and nothing is left behind."""
    pytest.importorskip("dynamic_network_architectures")
    archive = kept(name, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    told = {"mirror": ""} if name == "nnunet-slices" else {}
    exported, folder = (open_model(x, device="cpu", **told) for x in (archive, NETWORKS / name))
    incidental = {"name", "device", "found"}
    assert {k: x for k, x in exported.describe().items() if k not in incidental} == {
        k: x for k, x in folder.describe().items() if k not in incidental
    }
    case = Case.read(files_for(name, tmp_path / "case"))
    assert np.array_equal(exported.segment(case), folder.segment(case))
    attack = attacks.FGSM(epsilon=0.1, against="prediction")
    changed = [attack(model, case).adversarial.image for model in (exported, folder)]
    assert np.array_equal(*changed) and not np.array_equal(changed[0], case.image)
    shutil.rmtree(tmp_path / "case")
    assert sorted(tmp_path.rglob("*")) == before


def test_all_its_folds(tmp_path: Path) -> None:
    pytest.importorskip("dynamic_network_architectures")
    archive = kept("nnunet-sagittal", tmp_path)
    said = describe_file(archive)
    assert said.content == "a network trained with nnU-Net (3d_fullres, folds 0 and 1) in a zip archive"
    assert said.files == (archive,) and said.size_bytes == archive.stat().st_size and not said.needs_trust
    assert (said.name, said.channels, said.window) == ("Dataset601_nnunet_sagittal 3d_fullres", ("CT",), (12, 40, 40))
    export_network(archive, tmp_path / "ours")
    export_network(NETWORKS / "nnunet-sagittal", tmp_path / "folders")
    ours, folders = ((tmp_path / x / "model.safetensors").read_bytes() for x in ("ours", "folders"))
    assert ours == folders and len(ours) > 10_000


def test_one_is_chosen_as_in_a_folder(archive: Path) -> None:
    inside = archive / DATASET / NAME
    for path, folds in (
        (archive, "folds 0 and 2"),
        (archive / DATASET, "folds 0 and 2"),
        (inside, "folds 0 and 2"),
        (inside / "plans.json", "folds 0 and 2"),
        (inside / "fold_2", "fold 2"),
        (inside / "fold_0+fold_2", "folds 0 and 2"),
        (inside / "fold_0" / "checkpoint_final.pth", "fold 0"),
    ):
        found = describe(path)
        assert found is not None and found.content.what.endswith(f"(3d_fullres, {folds}) in a zip archive"), path
        assert found.files == (archive,) and found.settings["channels"] == ["T1"]
    with pytest.raises(InputError, match="has no fold_3; it has fold_0, fold_2"):
        describe(inside / "fold_0+fold_3")
    with pytest.raises(InputError, match=rf"holds no Dataset012; its networks of nnU-Net are {DATASET}/{NAME}\."):
        describe(archive / "Dataset012")


@pytest.mark.parametrize("above", [f"{NAME}/", "", "a/b/"])
def test_packed_by_hand(above: str, archive: Path, tmp_path: Path) -> None:
    """Only the configuration's folder, with its name or without, or with more above it."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(tmp_path / "hand.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name.replace(f"{DATASET}/{NAME}/", above), old.read(name))
    found = describe(tmp_path / "hand.zip")
    assert found is not None and "(3d_fullres, folds 0 and 2)" in found.content.what


def test_of_several_one_is_named(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    added(archive, write_folder(tmp_path / SLICES, folds=("0",)))
    added(archive, write_folder(tmp_path / NAME.replace("nnUNetTrainer", "nnUNetTrainer_5epochs")))
    listed = [f"{DATASET}/{x}" for x in (SLICES, NAME, NAME.replace("nnUNetTrainer", "nnUNetTrainer_5epochs"))]
    with pytest.raises(NotOpened) as caught:
        describe_file(archive)
    said = str(caught.value)
    assert said.startswith(f"The archive {archive} holds 3 networks of nnU-Net (") and all(x in said for x in listed)
    assert said.endswith(f"; give one of them, such as {archive}/{min(listed)}.")
    assert main(["info", str(archive)]) == 0
    shown = capsys.readouterr().out.replace("\\\n", " ")
    assert "opens:           not yet" in shown and "which of them" in shown
    assert all(f"{archive}/{x}" in shown for x in listed)
    assert all(describe_file(archive / x).file == archive / x for x in listed)


def test_results_of_two_networks_of_one_archive_are_told_apart(tmp_path: Path) -> None:
    """Their file is one and the same."""
    pytest.importorskip("dynamic_network_architectures")
    archive = kept("nnunet-sagittal", tmp_path)
    case = Case(np.zeros((1, 4, 4, 4), np.float32), ("CT",), np.eye(4))
    model = open_model(archive / DATASET / NAME / "fold_0", device="cpu")
    found = [
        fingerprints(case, ModelSource(path=str(archive / DATASET / NAME / fold)), model, None)["network"]
        for fold in ("fold_0", "fold_1", "fold_0")
    ]
    assert found[0] == found[2] != found[1]


def test_what_is_described_again_is_not_unpacked_again(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked: list[str] = []
    copy = places.copy_member
    monkeypatch.setattr(places, "copy_member", lambda x, name, place: (unpacked.append(name), copy(x, name, place))[1])
    for _ in range(3):
        describe_file(archive)
    assert len(unpacked) == 1
    write_checkpoint(archive.parent / "checkpoint_best.pth")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.write(archive.parent / "checkpoint_best.pth", f"{DATASET}/{NAME}/fold_0/checkpoint_best.pth")
    describe_file(archive)
    assert len(unpacked) == 2


@pytest.mark.parametrize("size", [0.1, 0.5, 0.99])
def test_cut_off(size: float, archive: Path) -> None:
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(size * len(whole))])
    with pytest.raises(InputError, match="cut off or damaged"):
        describe_file(archive)


def test_cut_off_after_a_checkpoint_in_it(archive: Path, tmp_path: Path) -> None:
    """Without compression what is left ends as the checkpoint does, which says its own plans."""
    stored = tmp_path / "stored.zip"
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(stored, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        after = next(x for x in new.infolist() if x.header_offset and "/fold_2/debug" in x.filename).header_offset
    describe_file(stored)
    stored.write_bytes(stored.read_bytes()[:after])
    for path in (stored, stored / DATASET / NAME / "fold_0"):
        with pytest.raises(InputError, match="stored.zip is cut off or damaged: it begins with"):
            describe_file(path)


def test_a_bomb_and_plans_of_absurd_size(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(tmp_path / "plans.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name, bytes(1 << 26) + b" " if name.endswith("plans.json") else old.read(name))
    with pytest.raises(InputError, match=r"plans\.json.* has 67,108,865 bytes, more than 67,108,864"):
        describe_file(tmp_path / "plans.zip")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(f"{DATASET}/{NAME}/progress.png", bytes(1 << 27))
    with pytest.raises(InputError, match="is a bomb"):
        describe_file(archive)


def test_a_damaged_checkpoint_is_named_as_it_is_called_in_the_archive(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / NAME, weights={"encoder": torch.zeros(1)})
    with pytest.raises(InputError, match=rf"exported\.zip/{DATASET}/{NAME}/fold_0/checkpoint_final\.pth"):
        open_model(packed(folder, tmp_path / "exported.zip"), device="cpu")
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"nothing")
    with pytest.raises(InputError, match=rf"exported\.zip/{DATASET}/{NAME}/fold_0/checkpoint_final\.pth is no checkpoint"):
        open_model(packed(folder, tmp_path / "exported.zip"), device="cpu")


def test_through_the_command_line_and_the_worker(tmp_path: Path) -> None:
    pytest.importorskip("dynamic_network_architectures")
    archive = kept("nnunet-slices", tmp_path)
    images = [f"--channel={x}={path}" for x, path in files_for("nnunet-slices", tmp_path / "case").items()]
    given = [f"--model={archive}", "--mirror", "", *images, "--device=cpu"]
    attack = ["--attack=fgsm", "--set", "against=prediction", "--set", "epsilon=0.1"]
    assert main(["attack", *given, *attack, f"--output={tmp_path / 'out'}"]) == 0
    assert (tmp_path / "out" / "fgsm" / "result.json").is_file()
    events: list[dict[str, object]] = []
    Worker(events.append).answer(Request("1", "network", {"model": {"path": str(archive), "device": "cpu"}}))
    assert events[-1]["event"] == "done", events[-1]
