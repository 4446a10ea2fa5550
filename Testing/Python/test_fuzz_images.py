"""Image files with anything in their headers are read, or refused in one sentence: no traceback, no crash, no file."""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from dicom_helpers import write_series
from fault_helpers import address_space, assert_sentence, limited
from fuzz_helpers import CHANGES, fuzzed, spoilt
from hypothesis import given

from SegAdversarialLib import Case, InputError
from SegAdversarialLib.volumes.headers import read_header

VOXELS = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
NAMES = ["x.nii", "x.nii.gz", "x.nrrd", "packed.nrrd", "x.mha", "packed.mha", "x.seg.nrrd", "x.dcm", "x.png", "x.tif", "x.bmp"]


def whole(folder: Path, name: str) -> bytes:
    """A right file of a kind."""
    if name.endswith(".dcm"):
        return write_series(folder, VOXELS[:1])[0].read_bytes()
    image = SimpleITK.GetImageFromArray(VOXELS)
    if name.endswith((".png", ".tif", ".bmp")):
        image = SimpleITK.Cast(image[:, :, 0], SimpleITK.sitkUInt8)
    if ".seg" in name:
        image = SimpleITK.GetImageFromArray((VOXELS % 3).astype(np.uint8))
        said = {"ID": "a", "Name": "core", "LabelValue": "1", "Layer": "0", "Extent": "0 5 0 4 0 3"}
        for key, text in said.items():
            image.SetMetaData(f"Segment0_{key}", text)
    SimpleITK.WriteImage(image, str(folder / name), name.startswith("packed"))
    return (folder / name).read_bytes()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_spoilt_headers(name: str, tmp_path: Path) -> None:
    """Within half a gigabyte, whatever size a header claims."""
    right = whole(tmp_path, name)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(VOXELS), str(tmp_path / "like.nrrd"))

    @fuzzed(60)
    @given(CHANGES)
    def tried(changes: Any) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as place:
            path = Path(place) / name
            path.write_bytes(spoilt(right, changes))
            with _little_memory():
                for read in (_read, read_header):
                    try:
                        read(path)
                    except InputError as error:
                        assert_sentence(str(error))
            assert [x.name for x in Path(place).iterdir()] == [name]

    tried()


def _read(path: Path) -> Any:
    if ".seg" in path.name:
        return Case.read({"A": path.parents[1] / "like.nrrd"}, label=path)
    return Case.read({"A": path})


def _little_memory() -> Any:
    if not sys.platform.startswith("linux"):
        return nullcontext()
    return limited("RLIMIT_AS", address_space() + (512 << 20))


@pytest.mark.parametrize("length", [600, 1100, 40000])
@pytest.mark.parametrize("field", ["kinds", "space origin", "type", "units", "something"])
def test_long_fields_of_nrrd(field: str, length: int, tmp_path: Path) -> None:
    """Words beyond the places that ITK's reader has for them never get there."""
    whole(tmp_path, "x.nrrd")
    data = (tmp_path / "x.nrrd").read_bytes()
    first, rest = data.split(b"\n", 1)
    (tmp_path / "x.nrrd").write_bytes(b"\n".join([first, f"{field}: {'x' * length}".encode(), rest]))
    with pytest.raises(InputError, match=f"takes {length + len(field) + 2} bytes"):
        Case.read({"A": tmp_path / "x.nrrd"})


@pytest.mark.parametrize("line", ["NDims = -1", "NDims = 2147483647", f"Name = {'x' * 400}", "DimSize = 1e999 2 2"])
def test_numbers_of_metaimage(line: str, tmp_path: Path) -> None:
    data = whole(tmp_path, "x.mha").split(b"\n")
    tag = line.split(" = ")[0].encode()
    kept = [x for x in data if not x.startswith(tag + b" =")]
    (tmp_path / "x.mha").write_bytes(b"\n".join([kept[0], line.encode(), *kept[1:]]))
    with pytest.raises(InputError, match=tag.decode()):
        Case.read({"A": tmp_path / "x.mha"})


@pytest.mark.parametrize("name", ["packed.nrrd", "packed.mha", "x.nrrd", "x.mha", "x.nii", "x.nii.gz"])
def test_a_header_that_claims_more_than_any_file_holds(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    data = whole(tmp_path, name)
    if ".nii" in name:
        import gzip

        plain = gzip.decompress(data) if name.endswith(".gz") else data
        plain = plain[:42] + np.int16([30000] * 3).tobytes() + plain[48:]
        path.write_bytes(gzip.compress(plain) if name.endswith(".gz") else plain)
    else:
        path.write_bytes(data.replace(b"6 5 4", b"30000 30000 30000"))
    with _little_memory(), pytest.raises(InputError, match="incomplete"):
        Case.read({"A": path})
