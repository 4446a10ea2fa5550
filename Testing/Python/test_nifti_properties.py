"""Laws of reading and writing NIfTI, against nibabel and SimpleITK on files of random kinds."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from nifti_helpers import VOXELS, affine_at, write_nifti
from scipy.spatial.transform import Rotation

from SegAdversarialLib import Case, InputError
from SegAdversarialLib.volumes.geometry import affine_of_itk, same_grid
from SegAdversarialLib.volumes.volume import Space

SIZES = st.tuples(*[st.sampled_from([0.3, 0.9375, 1.0, 2.5, 7.0])] * 3)
PLACES = st.tuples(*[st.floats(-300, 300).map(lambda x: round(x, 3))] * 3)
QUARTERS = st.sampled_from(
    [Rotation.from_euler("xyz", (90 * x, 90 * y, 90 * z), degrees=True) for x, y, z in np.ndindex(4, 4, 4)]
)
TILTS = st.tuples(*[st.sampled_from([0.0, 1e-4, 0.01, 3.0, -17.0])] * 3).map(
    lambda x: Rotation.from_euler("xyz", x, degrees=True)
)
DTYPES = st.sampled_from(["uint8", "int8", "int16", "uint16", "int32", "uint32", "float32", "float64"])


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Right-angled grids anywhere, near and far from the body's axes, mirrored or not."""
    affine = np.eye(4)
    rotation = (draw(QUARTERS) * draw(TILTS)).as_matrix()
    affine[:3, :3] = rotation * draw(SIZES) * [1, 1, draw(st.sampled_from([1, -1]))]
    affine[:3, 3] = draw(PLACES)
    return affine


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    shape = draw(st.tuples(*[st.integers(1, 5)] * 3))
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    dtype = np.dtype(draw(DTYPES))
    if dtype.kind == "f":
        return generator.normal(0, 100, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return generator.integers(max(limits.min, -(2**24)), min(limits.max, 2**24), shape, endpoint=True, dtype=dtype)


@settings(max_examples=150, deadline=None)
@given(
    array=arrays(),
    affine=affines(),
    codes=st.sampled_from([(1, 0), (0, 1), (1, 1), (2, 1), (4, 4), (3, 0), (2, 2), (0, 2), (5, 1)]),
    slope=st.sampled_from([(1.0, 0.0), (0.0, 3.0), (np.nan, np.nan), (0.5, -2.0), (-3.0, 1024.0), (1e-6, 0.0)]),
    version=st.sampled_from([1, 2]),
    order=st.sampled_from("<>"),
)
def test_a_consistent_file_is_what_nibabel_reads(
    array: np.ndarray, affine: np.ndarray, codes: tuple[int, int], slope: tuple[float, float], version: int, order: str
) -> None:
    forms: dict[str, Any] = {"sform": (affine, codes[0])} if codes[0] else {}
    forms |= {"qform": (affine, codes[1])} if codes[1] else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.nii"
        write_nifti(path, array, version=version, order=order, scl_slope=slope[0], scl_inter=slope[1], **forms)
        case, truth = Case.read({"A": path}), nibabel.load(path)
        np.testing.assert_array_equal(case.image[0], truth.get_fdata().astype(np.float32).T)
        assert same_grid(case.shape, case.affine, case.shape, truth.affine)


@settings(max_examples=150, deadline=None)
@given(array=arrays(), affine=affines(), code=st.integers(1, 5), ending=st.sampled_from([".nii", ".nii.gz", ".nrrd", ".mha"]))
def test_what_is_written_lies_there_for_every_reader(array: np.ndarray, affine: np.ndarray, code: int, ending: str) -> None:
    case = Case(
        array[None],
        ("A",),
        affine,
        dtypes=(str(array.dtype) if array.dtype.kind in "iu" else "float32",),
        space=Space.of(code),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = case.write(folder, ending)["A"]
        again, seen = Case.read({"A": path}), SimpleITK.ReadImage(str(path))
        np.testing.assert_array_equal(again.image, case.image)
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(seen).astype(np.float32), case.image[0])
        assert again.dtypes == case.dtypes
        for found in (again.affine, affine_of_itk(seen)):
            assert same_grid(case.shape, affine, case.shape, found)
        if ending.startswith(".nii"):
            truth = nibabel.load(path)
            np.testing.assert_array_equal(np.asarray(truth.dataobj).T, case.image[0])
            assert same_grid(case.shape, affine, case.shape, truth.affine)
            assert int(truth.header["sform_code"]) == int(truth.header["qform_code"]) == code == again.space.code


_FIELDS = st.dictionaries(
    st.sampled_from(
        [
            "dim_0",
            "dim_1",
            "dim_3",
            "dim_4",
            "dim_5",
            "datatype",
            "bitpix",
            "vox_offset",
            "scl_slope",
            "scl_inter",
            "xyzt_units",
        ]
        + ["pixdim_0", "pixdim_1", "pixdim_3", "sform_code", "qform_code", "quatern_b", "quatern_d", "qoffset_x", "sizeof_hdr"]
    ),
    st.sampled_from([0, 1, -1, 2, 3, 5, 7, 64, 128, 352, 348]) | st.integers(-128, 127),
    max_size=3,
)


@settings(max_examples=300, deadline=None)
@given(
    fields=_FIELDS, cut=st.none() | st.integers(0, 1100), affine=affines(), prefer=st.sampled_from([None, "sform", "qform"])
)
def test_whatever_a_header_says_it_is_read_or_refused_in_one_sentence(
    fields: dict[str, int], cut: int | None, affine: np.ndarray, prefer: Any
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_nifti(Path(folder) / "x.nii", sform=(affine, 1), qform=(affine, 1))
        write_nifti(
            path, sform=(affine, 1), qform=(affine, 1), **{k: v % 256 if k == "xyzt_units" else v for k, v in fields.items()}
        )
        data = path.read_bytes()[:cut]
        path.write_bytes(data)
        try:
            case = Case.read({"A": path}, prefer=prefer)
        except InputError as error:
            assert "\n" not in str(error) and "x.nii" in str(error) or "NaN" in str(error)
        else:
            assert len(data) >= 352 + case.image[0].size  # nothing was made up
            assert np.isfinite(case.affine).all()


@settings(max_examples=100, deadline=None)
@given(spoilt=st.integers(0, 400), value=st.integers(0, 255))
def test_a_spoilt_packed_file_is_refused_or_equal(spoilt: int, value: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_nifti(Path(folder) / "x.nii", sform=(affine_at(), 1), qform=(affine_at(), 1))
        data = bytearray(gzip.compress(path.read_bytes(), mtime=0))
        data[spoilt % len(data)] = value
        (Path(folder) / "x.nii.gz").write_bytes(data)
        try:
            case = Case.read({"A": Path(folder) / "x.nii.gz"})
        except InputError as error:
            assert "\n" not in str(error)
        else:
            np.testing.assert_array_equal(case.image[0], VOXELS)
