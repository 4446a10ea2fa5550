"""Files that are cut off anywhere, or empty: each kind is refused in one sentence, and its folder stays as it is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from conftest import tiny_network, toy_case
from dicom_helpers import write_series
from fault_helpers import assert_sentence, listing, run_toy, sentence_of, toy_job

from SegAdversarialLib import Case, InputError
from SegAdversarialLib.formats import open_model
from SegAdversarialLib.jobs.opening import open_case
from SegAdversarialLib.jobs.results import read_attack
from SegAdversarialLib.jobs.specification import read_job
from SegAdversarialLib.studies.study import Study
from SegAdversarialLib.volumes.headers import read_header

VOXELS = np.random.default_rng(0).integers(-300, 300, (6, 7, 8)).astype(np.int16)
CUTS = ("empty", "one byte", "in the header", "after the header", "in the data", "one byte short")
HEADERS = {".nii": 352, ".nrrd": 400, ".mha": 300}


def cut(data: bytes, where: str, header: int) -> bytes:
    """The beginning of a file."""
    lengths = dict(zip(CUTS, (0, 1, header // 2, header, (header + len(data)) // 2, len(data) - 1)))
    return data[: lengths[where]]


def header_of(data: bytes, name: str) -> int:
    """Bytes before the data."""
    if name.endswith((".nrrd", ".mha")):
        mark = b"\n\n" if name.endswith(".nrrd") else b"ElementDataFile = LOCAL\n"
        return data.index(mark) + len(mark)
    if name.endswith(".safetensors"):
        return 8 + int.from_bytes(data[:8], "little")
    return min(352, len(data) // 3)


IMAGES = ["x.nii", "x.nii.gz", "x.nrrd", "packed.nrrd", "x.mha", "packed.mha", "x.dcm", "x.png", "x.tif", "x.jpg", "x.bmp"]


def image(folder: Path, name: str) -> Path:
    """A whole file of a kind."""
    path = folder / name
    if name.endswith(".dcm"):
        (made, *_) = write_series(folder, VOXELS[:1])
        made.rename(path)
        return path
    whole = SimpleITK.GetImageFromArray(VOXELS)
    if name.endswith((".png", ".tif", ".jpg", ".bmp")):
        whole = SimpleITK.Cast(whole[:, :, 0], SimpleITK.sitkUInt8)
    SimpleITK.WriteImage(whole, str(path), name.startswith("packed"))
    return path


@pytest.mark.parametrize("where", CUTS)
@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str, where: str, tmp_path: Path) -> None:
    path = image(tmp_path, name)
    data = path.read_bytes()
    whole = Case.read({"A": path}).image
    path.write_bytes(cut(data, where, header_of(data, name)))
    before = listing(tmp_path)
    if name.endswith((".png", ".tif", ".jpg")):  # what follows the pixels may be missing
        _refused_or_equal(path, whole)
    else:
        assert path.name in sentence_of(lambda: Case.read({"A": path}))
    try:
        read_header(path)  # where the header is whole, it may be
    except ValueError as error:
        assert type(error).__name__ == "InputError"
    assert listing(tmp_path) == before
    path.write_bytes(data)
    assert Case.read({"A": path}).image.size


def _refused_or_equal(path: Path, whole: np.ndarray) -> None:
    try:
        read = Case.read({"A": path}).image
    except InputError as error:
        assert_sentence(str(error))
    else:
        np.testing.assert_array_equal(read, whole)


def torchscript(folder: Path) -> Path:
    torch.jit.script(tiny_network().float()).save(str(folder / "net.ts"))
    (folder / "net.json").write_text(json.dumps({"channels": ["A", "B"], "classes": ["background", "core", "rim"]}))
    return folder / "net.ts"


def weights(folder: Path, ending: str) -> Path:
    import monai
    from safetensors.torch import save_file

    arguments = {"spatial_dims": 3, "in_channels": 2, "out_channels": 3, "channels": [2, 4], "strides": [2]}
    state = monai.networks.nets.UNet(**arguments).state_dict()
    path = folder / f"net{ending}"
    if ending == ".safetensors":
        save_file(state, str(path))
    else:
        torch.save(state, path)
    said = {"network": {"name": "UNet", "arguments": arguments}, "weights": path.name}
    said |= {"channels": ["A", "B"], "classes": ["background", "core", "rim"]}
    (folder / "net.json").write_text(json.dumps(said))
    return path


NETWORKS: dict[str, Callable[[Path], Path]] = {
    "TorchScript": torchscript,
    "safetensors": lambda folder: weights(folder, ".safetensors"),
    "checkpoint": lambda folder: weights(folder, ".pt"),
    "settings": lambda folder: torchscript(folder).with_suffix(".json"),
}


@pytest.mark.parametrize("where", CUTS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_networks(kind: str, where: str, tmp_path: Path) -> None:
    path = NETWORKS[kind](tmp_path)
    opened = path if kind != "settings" else path.with_suffix(".ts")
    data = path.read_bytes()
    path.write_bytes(cut(data, where, header_of(data, path.name)))
    if path.read_bytes().strip() == data.strip():
        pytest.skip("the last byte is a line break")
    before = listing(tmp_path)
    sentence_of(lambda: open_model(opened, trust=True, device="cpu"))
    assert listing(tmp_path) == before
    path.write_bytes(data)
    open_model(opened, trust=True, device="cpu")


STUDY = "study: one\ncohort: phantom:0-1@32\nnetworks:\n  unet: builtin:brain-tumour-phantom\nattacks:\n  - attack: fgsm\n"


@pytest.mark.parametrize("length", [0, 1, 9, 12, 40, 60, 90, len(STUDY) - 7])
def test_study_files(length: int, tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text(STUDY[:length])
    assert "one.yaml" in sentence_of(lambda: Study.read(path))
    path.write_text(STUDY)
    assert Study.read(path).study == "one"


@pytest.mark.parametrize("where", CUTS[:-1])
@pytest.mark.parametrize("name", ["job.json", "fgsm/result.json"])
def test_results(name: str, where: str, tmp_path: Path) -> None:
    """Read, they are refused in a sentence, and left as they are."""
    job = toy_job(tmp_path, {"attack": "fgsm"})
    run_toy(job)
    path = tmp_path / "out" / name
    path.write_bytes(cut(path.read_bytes(), where, 200))
    before = listing(tmp_path)
    if name == "job.json":
        sentence_of(lambda: read_job(path))
    else:
        sentence_of(lambda: read_attack(tmp_path / "out" / "fgsm", open_case(job.case)))
    assert listing(tmp_path) == before


@pytest.mark.parametrize("where", ["in the header", "in the data", "one byte short"])
def test_packed_in_several_members(where: str, tmp_path: Path) -> None:
    """gzip allows files in pieces."""
    whole = image(tmp_path, "x.nii").read_bytes()
    data = gzip.compress(whole[:500]) + gzip.compress(whole[500:])
    path = tmp_path / "y.nii.gz"
    path.write_bytes(data)
    Case.read({"A": path})
    path.write_bytes(cut(data, where, len(gzip.compress(whole[:500]))))
    assert "y.nii.gz" in sentence_of(lambda: Case.read({"A": path}))


def test_a_toy_case_is_whole() -> None:
    """What the others are cut from."""
    assert toy_case((8, 10, 12)).image.shape == (2, 8, 10, 12)
