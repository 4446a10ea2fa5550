"""Series of DICOM files, one slice each: order, place and values against SimpleITK's series reader and pydicom's numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_helpers import CT, MR, PET, new_file, save, write_series
from hypothesis import example, given, settings
from hypothesis import strategies as st

from SegAdversarialLib import Case, InputError
from SegAdversarialLib.volumes.geometry import affine_of_itk


def random_volume(slices: int = 6, rows: int = 5, columns: int = 7, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3000, (slices, rows, columns)).astype(np.int16)


def turned(degrees: tuple[float, float, float]) -> list[float]:
    """ImageOrientationPatient of a plane turned about x, y and z."""
    a, b, c = np.deg2rad(degrees)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    turn = about_z @ about_y @ about_x
    return [round(float(x), 9) for x in (*turn[:, 0], *turn[:, 1])]


@settings(max_examples=10, deadline=None)
@given(
    degrees=st.tuples(*[st.floats(-180, 180)] * 3),
    order=st.permutations(range(5)),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
)
def test_what_sits_where_is_itks(
    degrees: tuple[float, float, float], order: list[int], spacing: tuple[float, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In any plane, whatever the files' names and numbers, voxels and places are those of SimpleITK's series reader."""
    folder = tmp_path_factory.mktemp("series")
    spacing = tuple(round(x, 4) for x in spacing)
    write_series(folder, random_volume(5), axes=turned(degrees), spacing=spacing, order=order)
    case = Case.read({"CT": folder})
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    np.testing.assert_array_equal(case.image[0], SimpleITK.GetArrayFromImage(image))
    np.testing.assert_allclose(case.affine, affine_of_itk(image), atol=1e-4)
    assert case.dtypes == ("int16",)


def test_a_channel_can_be_a_folder_and_a_label_a_file(tmp_path: Path) -> None:
    volume = random_volume()
    write_series(tmp_path / "study" / "T1", volume)
    case = Case.read({"T1": tmp_path / "study" / "T1"})
    np.testing.assert_array_equal(case.image[0], volume - 1024.0)
    assert case.name == "study" and case.spacing == pytest.approx((0.7, 0.5, 3.0))
    written = Case(case.image, ("T1",), case.affine, (volume > 1500).astype(np.int16)).write(tmp_path)
    again = Case.read({"T1": str(tmp_path / "study" / "T1")}, written["label"])
    np.testing.assert_array_equal(again.label, volume > 1500)


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    """PET: the slope follows each slice's largest value; fractions must not be cut to whole numbers."""
    volume = random_volume()
    slopes = [0.37, 1, 2.5, 0.0125, 3, 7.25]

    def edit(data: pydicom.Dataset, k: int) -> None:
        data.RescaleSlope, data.RescaleIntercept, data.Units = slopes[k], 0, "BQML"

    files = write_series(tmp_path, volume, kind=PET, Modality="PT", edit=edit)
    case = Case.read({"PET": tmp_path})
    expected = [pydicom.dcmread(x).pixel_array * float(pydicom.dcmread(x).RescaleSlope) for x in files]
    np.testing.assert_allclose(case.image[0], expected, rtol=1e-6)
    assert case.dtypes == ("float32",)


@pytest.mark.parametrize(("kind", "modality"), [(CT, "CT"), (MR, "MR"), (PET, "PT")])
def test_monochrome1_of_measurements_is_no_negative(kind: str, modality: str, tmp_path: Path) -> None:
    volume = random_volume()
    write_series(tmp_path, volume, kind=kind, Modality=modality, PhotometricInterpretation="MONOCHROME1")
    offset = 1024 if kind == CT else 0
    np.testing.assert_array_equal(Case.read({"A": tmp_path}).image[0], volume - float(offset))


def test_other_files_in_the_folder(tmp_path: Path) -> None:
    """Files of other kinds, a DICOMDIR, reports and copies are passed over; subfolders are looked into."""
    volume = random_volume()
    files = write_series(tmp_path / "DICOM" / "S1", volume)
    for name, content in (("LOCKFILE", b"x"), ("readme.txt", b""), (".DS_Store", b"\0" * 200), ("._IM0000", b"\0" * 40)):
        (tmp_path / "DICOM" / name).write_bytes(content)
    shutil.copy(files[2], tmp_path / "DICOM" / "IM0002 (1)")
    directory = new_file(tmp_path / "DICOMDIR", "1.2.840.10008.1.3.10", volume[0])
    for keyword in ("SOPClassUID", "Rows", "PixelRepresentation", "PixelData"):
        delattr(directory, keyword)
    save(directory, tmp_path / "DICOMDIR")
    report = new_file(tmp_path, "1.2.840.10008.5.1.4.1.1.88.11", volume[0], Modality="SR", SeriesInstanceUID="1.2.9")
    del report.Rows, report.PixelRepresentation
    save(report, tmp_path / "report.dcm")
    np.testing.assert_array_equal(Case.read({"A": tmp_path}).image[0], volume - 1024.0)
    with pytest.raises(InputError, match="report.dcm holds no scanner's image"):
        Case.read({"A": tmp_path / "report.dcm"})
    with pytest.raises(
        InputError, match="DICOMDIR holds no scanner's image .*Media Storage Directory.*; give an image, or its folder"
    ):
        Case.read({"A": tmp_path / "DICOMDIR"})


def test_a_file_is_one_slice_of_its_thickness(tmp_path: Path) -> None:
    volume = random_volume()
    files = write_series(tmp_path, volume)
    case = Case.read({"A": files[3]})
    np.testing.assert_array_equal(case.image[0], volume[3:4] - 1024.0)
    image = SimpleITK.ReadImage(str(files[3]))
    np.testing.assert_allclose(case.affine[:, [0, 1, 3]], affine_of_itk(image)[:, [0, 1, 3]], atol=1e-6)
    assert case.spacing == pytest.approx((0.7, 0.5, 3.0))


def test_a_radiograph_has_pixels_but_no_place(tmp_path: Path) -> None:
    pixels = random_volume()[0]
    kind = "1.2.840.10008.5.1.4.1.1.1.1"
    path = save(new_file(tmp_path, kind, pixels, Modality="DX", ImagerPixelSpacing=[0.14, 0.15]), tmp_path / "chest.dcm")
    case = Case.read({"DX": path})
    np.testing.assert_array_equal(case.image[0, 0], pixels)
    assert case.spacing == pytest.approx((0.15, 0.14, 1.0))
    assert SimpleITK.ReadImage(str(path)).GetSpacing()[:2] == pytest.approx((0.15, 0.14))


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000", "RLE"])
def test_compressed_slices(compressor: str, tmp_path: Path) -> None:
    """GDCM (or pydicom) packs them, our header is around, and the voxels are those that were packed."""
    volume = random_volume(3, 64, 72)

    def edit(data: pydicom.Dataset, k: int) -> None:
        if compressor == "RLE":
            data.compress(pydicom.uid.RLELossless)
            return
        writer = SimpleITK.ImageFileWriter()
        writer.SetFileName(str(tmp_path / "one.dcm"))
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.Execute(SimpleITK.GetImageFromArray(volume[k]))
        packed = pydicom.dcmread(tmp_path / "one.dcm")
        data.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
        data["PixelData"] = packed["PixelData"]
        data.PixelRepresentation = packed.PixelRepresentation

    files = write_series(tmp_path / "series", volume, edit=edit)
    assert pydicom.dcmread(files[0]).file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(Case.read({"A": tmp_path / "series"}).image[0], volume - 1024.0)


@pytest.mark.parametrize(("bits", "stored", "signed"), [(8, 8, 0), (16, 12, 0), (16, 12, 1), (16, 16, 0), (32, 32, 1)])
def test_bits(bits: int, stored: int, signed: int, tmp_path: Path) -> None:
    """Values to both ends of what the bits hold; with 12 of 16, the sign is the twelfth."""
    low, high = (-(2 ** (min(stored, 24) - 1)), 2 ** (min(stored, 24) - 1) - 1) if signed else (0, 2**stored - 1)
    volume = np.random.default_rng(0).integers(low, high, (3, 5, 7), endpoint=True)
    volume[0, 0, :2] = low, high

    def edit(data: pydicom.Dataset, k: int) -> None:
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = bits, stored, stored - 1, signed
        content = (volume[k] & (2**stored - 1)).astype(f"<u{bits // 8}").tobytes()
        data.PixelData = content + b"\0" * (len(content) % 2)
        data["PixelData"].VR = "OB" if bits == 8 else "OW"

    write_series(tmp_path, volume.astype(np.int16), kind=MR, edit=edit)
    np.testing.assert_array_equal(Case.read({"A": tmp_path}).image[0], volume)


def test_files_without_preamble(tmp_path: Path) -> None:
    """Known by their ending only, as older programs wrote them; implicit little endian is what they are in."""
    volume = random_volume()
    for n, path in enumerate(write_series(tmp_path / "new", volume)):
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        with_header = save(data, tmp_path / "implicit" / f"{n}.dcm")
        content = with_header.read_bytes()
        length = 132 + 12 + int.from_bytes(content[140:144], "little")
        (tmp_path / "old").mkdir(exist_ok=True)
        (tmp_path / "old" / f"{n}.dcm").write_bytes(content[length:])
    np.testing.assert_array_equal(Case.read({"A": tmp_path / "implicit"}).image[0], volume - 1024.0)
    np.testing.assert_array_equal(Case.read({"A": tmp_path / "old"}).image[0], volume - 1024.0)


def test_rounded_positions_are_no_gap(tmp_path: Path) -> None:
    def edit(data: pydicom.Dataset, k: int) -> None:
        data.ImagePositionPatient = [round(float(x), 1) for x in data.ImagePositionPatient]

    write_series(tmp_path, random_volume(20), spacing=(0.7, 0.5, 0.75), edit=edit)
    assert Case.read({"A": tmp_path}).spacing == pytest.approx((0.7, 0.5, 0.75), abs=5e-3)


def shifted(k_from: int, mm: tuple[float, float, float]) -> Any:
    """Moves slices from one on by mm for each."""

    def edit(data: pydicom.Dataset, k: int) -> None:
        steps = max(0, k - k_from)
        data.ImagePositionPatient = [float(a) + steps * b for a, b in zip(data.ImagePositionPatient, mm)]

    return edit


def setting(**values: Any) -> Any:
    """Gives one slice (the third) other values."""

    def edit(data: pydicom.Dataset, k: int) -> None:
        for keyword, value in values.items() if k == 2 else ():
            setattr(data, keyword, value)

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (shifted(0, (0, 0.5, 0)), r"lean by 9.46 degrees \(a tilted gantry\)"),
        (shifted(3, (0, 4, 0)), "shifted against each other sideways by up to 8 mm"),
        (shifted(2, (0, 0, 1.2)), "vary from 3 to 4.2 mm"),
        (setting(ImagePositionPatient=[-10, 20, 30]), "IM0000 and .*IM0002 lie at the same place"),
        (setting(RescaleSlope=0), "IM0002 has a RescaleSlope of 0"),
        (setting(RescaleType="US"), 'measures in: "HU", .*IM0002: "US"'),
        (setting(ImagePositionPatient=None), "2 volumes|says nothing of its place"),
        (setting(PixelData=b"\0" * 40), "IM0002 holds 40 bytes of pixels, its header says 70"),
        (setting(ImageOrientationPatient=[1, 0, 0, 0, 1]), r"ImageOrientationPatient of .*IM0002 .*6 finite number\(s\)"),
        (setting(PixelSpacing=[0.5, -0.7]), "2 volumes"),
        (setting(Rows=4, PixelData=b"\0" * 56), "2 volumes"),
        (setting(ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "2 volumes.*axial.*sagittal"),
    ],
)
def test_stacks_that_are_none(edit: Any, message: str, tmp_path: Path) -> None:
    write_series(tmp_path, random_volume(), edit=edit)
    with pytest.raises(InputError, match=message) as caught:
        Case.read({"A": tmp_path})
    assert "\n" not in str(caught.value)


def test_a_missing_slice(tmp_path: Path) -> None:
    files = write_series(tmp_path, random_volume(8))
    files[5].unlink()
    with pytest.raises(InputError, match=r"Between .*IM0004 and .*IM0006 lie 6 mm, between other slices 3 mm: 1 slice\(s\)"):
        Case.read({"A": tmp_path})
    files[6].unlink()
    with pytest.raises(InputError, match=r"lie 9 mm.*2 slice\(s\) are probably missing"):
        Case.read({"A": tmp_path})


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
@example(share=0.131)  # in the middle of the mark "DICM"
def test_a_last_slice_that_was_cut_off_is_not_passed_over(share: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Wherever it was cut: no gap would show that it is missing."""
    folder = tmp_path_factory.mktemp("series")
    last = write_series(folder, random_volume(3))[-1]
    content = last.read_bytes()
    last.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="IM0002"):
        Case.read({"A": folder})


def test_a_slice_without_slope_among_others(tmp_path: Path) -> None:
    def edit(data: pydicom.Dataset, k: int) -> None:
        if k == 2:
            del data.RescaleSlope, data.RescaleIntercept

    write_series(tmp_path, random_volume(), edit=edit)
    with pytest.raises(InputError, match="has a RescaleSlope: yes, .*IM0002: no"):
        Case.read({"A": tmp_path})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "holds colours"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "holds colours"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}, "mosaic"),
        ({"PhotometricInterpretation": "MONOCHROME1", "Modality": "CR"}, "is a negative"),
        ({"Modality": "SEG"}, "holds no scanner's image"),
    ],
)
def test_images_of_other_kinds(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write_series(tmp_path, random_volume(1), **values)[0]
    with pytest.raises(InputError, match=message):
        Case.read({"A": path})


def test_compression_that_is_not_decoded(tmp_path: Path) -> None:
    def edit(data: pydicom.Dataset, k: int) -> None:
        data.file_meta.TransferSyntaxUID = pydicom.uid.HTJ2KLossless
        data.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51\0\0"])
        data["PixelData"].is_undefined_length = True

    write_series(tmp_path, random_volume(1), edit=edit)
    with pytest.raises(InputError, match="High-Throughput.*decompress it first"):
        Case.read({"A": tmp_path})


def test_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder without DICOM images"):
        Case.read({"A": tmp_path})
