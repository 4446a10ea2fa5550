"""Segmentations as Slicer saves them: names, layers and cut extents, against files written by hand and by Slicer itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import torch

from SegAdversarialLib import Case, SegmentationModel, attacks, evaluate
from SegAdversarialLib.cli import main
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.structures.terminology import entry_of
from SegAdversarialLib.volumes.geometry import Grid
from SegAdversarialLib.volumes.reading import read_label, read_mask

SHAPE = (6, 7, 8)
BRATS = OutputHead.of({0: "background", 1: "NCR", 2: "ED", 4: "ET"})
TRUTH = np.zeros(SHAPE, np.int16)
TRUTH[1:5, 1:6, 1:7] = 2
TRUTH[2:4, 2:5, 2:6] = 1
TRUTH[3, 3, 3:5] = 4
NESTED = {"WT": TRUTH > 0, "TC": np.isin(TRUTH, (1, 4)), "ET": TRUTH == 4}


@pytest.fixture
def ct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros(SHAPE, np.int16)), "ct.nrrd")
    return {"CT": "ct.nrrd"}


def write(array: np.ndarray, *segments: dict[str, Any], origin: tuple[float, ...] = (0, 0, 0), **header: str) -> str:
    """A .seg.nrrd of (K, J, I), or (K, J, I, layers), byte by byte as NRRD's and Slicer's specifications say."""
    *layers, i, j, k = array.shape[::-1]
    place = ",".join(map(str, origin))
    lines = [
        *("NRRD0004", "type: unsigned char", f"dimension: {array.ndim}", f"sizes: {' '.join(map(str, (*layers, i, j, k)))}"),
        *("space: left-posterior-superior", f"kinds: {'list ' * len(layers)}domain domain domain"),
        *(f"space directions: {'none ' * len(layers)}(1,0,0) (0,1,0) (0,0,1)", f"space origin: ({place})"),
        *("encoding: raw", *(f"{key}:={value}" for key, value in header.items())),
        *(f"Segment{n}_{key}:={value}" for n, segment in enumerate(segments) for key, value in segment.items()),
    ]
    text = "\n".join(lines) + "\n\n"
    Path("drawn.seg.nrrd").write_bytes(text.encode() + array.astype(np.uint8).tobytes())
    return "drawn.seg.nrrd"


def segment(name: str, value: int = 1, layer: int = 0, **more: str) -> dict[str, Any]:
    return {"ID": f"id {name}", "Name": name, "Layer": layer, "LabelValue": value, **more}


def layered(**masks: np.ndarray) -> str:
    return write(np.stack(list(masks.values()), -1), *(segment(name, 1, n) for n, name in enumerate(masks)))


class Perfect(torch.nn.Module):
    """Says class 1 where the image is 2, and class 2 where it is 1."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - image, 1 - 9 * (image - 2).abs(), 1 - 9 * (image - 1).abs()], 1)


def test_names_of_the_header_count_not_the_numbers(ct: dict[str, str]) -> None:
    image = np.where(TRUTH == 2, 1, np.where(TRUTH > 0, 2, 0)).astype(np.float32)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(image), "ct.nrrd")
    case = Case.read(ct, write(image, segment("oedema", 1), segment("core", 2)))
    assert case.label_names == {1: "oedema", 2: "core"} and np.array_equal(case.label, image)
    model = SegmentationModel.from_network(
        Perfect(), channels=("CT",), classes={0: "background", 1: "core", 2: "edema"}, device="cpu"
    )
    result = attacks.UniformNoise(epsilon=0.0)(None, case)
    found = evaluate(result, model)
    assert found.get("core", "Dice")["before"] == found.get("edema", "Dice")["before"] == 1
    again = attacks.FGSM(epsilon=0.0)(model, case)
    assert np.array_equal(again.original.label, image.astype(int) * 2 % 3)  # 1 and 2 exchanged
    assert evaluate(again, model).get("core", "Dice")["before"] == 1


def test_terminology_names_a_segment_that_nobody_has_named(ct: dict[str, str]) -> None:
    head = OutputHead.of({0: "background", 1: "kidney_right", 2: "kidney_left"})
    tags = f"Segmentation.Status:inprogress|TerminologyEntry:{entry_of('left kidney')}|"
    path = write(TRUTH > 0, segment("Segment_1", 1, Tags=tags))
    for case in (Case.read(ct, path, head=head), Case.read(ct, path).in_terms_of(head)):
        assert np.array_equal(case.label, 2 * (TRUTH > 0))
    path = write(TRUTH > 0, segment("right kidney", 1, Tags=tags))
    for read in (lambda: Case.read(ct, path, head=head), lambda: Case.read(ct, path).in_terms_of(head)):
        with pytest.raises(InputError, match="right kidney"):
            read()


def test_layers_are_read_for_a_network_and_refused_without(ct: dict[str, str]) -> None:
    path = layered(**NESTED)
    with pytest.raises(InputError, match=r'"WT" and "TC" .*drawn.seg.nrrd overlap in 24 voxel\(s\).*head=model.head'):
        Case.read(ct, path)
    case = Case.read(ct, path, head=BRATS)
    assert np.array_equal(case.label, TRUTH) and case.label_names == BRATS.reference_names
    apart = Case.read(ct, layered(a=TRUTH == 1, b=TRUTH == 2))
    assert np.array_equal(apart.label, np.where(TRUTH == 4, 0, TRUTH)) and apart.label_names == {1: "a", 2: "b"}


def test_a_layer_holds_several_segments(ct: dict[str, str]) -> None:
    two = np.stack([np.where(TRUTH == 2, 1, np.where(TRUTH == 1, 3, 0)), 3 * (TRUTH == 4)], -1)
    path = write(two, segment("ED", 1), segment("NCR", 3), segment("ET", 3, 1))
    assert np.array_equal(Case.read(ct, path, head=BRATS).label, TRUTH)


def test_files_of_old_slicers_have_a_layer_for_each_segment_and_do_not_say_so(ct: dict[str, str]) -> None:
    path = write(np.stack(list(NESTED.values()), -1), *({"ID": x, "Name": x} for x in NESTED))
    assert np.array_equal(Case.read(ct, path, head=BRATS).label, TRUTH)
    single = write(TRUTH == 4, {"ID": "a", "Name": "ET"})
    assert np.array_equal(Case.read(ct, single, head=BRATS).label, np.where(TRUTH == 4, 4, 0))


@pytest.mark.parametrize("layers", [1, 2])
def test_what_slicer_has_cut_or_widened_is_put_in_its_place(ct: dict[str, str], layers: int) -> None:
    whole = np.pad(TRUTH, 3)
    for low, high in (((4, 4, 4), (8, 9, 10)), ((0, 0, 0), whole.shape), ((2, 5, 3), (9, 13, 8)), ((3, 3, 3), (9, 10, 11))):
        part = whole[tuple(slice(a, b) for a, b in zip(low, high))]
        origin = tuple(x - 3 for x in reversed(low))
        kept = np.zeros_like(whole)
        kept[tuple(slice(a, b) for a, b in zip(low, high))] = part
        wanted = kept[3:-3, 3:-3, 3:-3]
        named = [segment("NCR", 1), segment("ED", 2), segment("ET", 4, layers - 1)]
        stored = part if layers == 1 else np.stack([np.where(part == 4, 0, part), np.where(part == 4, 4, 0)], -1)
        case = Case.read(ct, write(stored, *named, origin=origin), head=BRATS)
        assert np.array_equal(case.label, wanted)


def test_other_voxels_need_resampling(ct: dict[str, str]) -> None:
    path = write(TRUTH, segment("NCR", 1), segment("ED", 2), segment("ET", 4), origin=(0.25, 0, 0))
    with pytest.raises(InputError, match=r"label map \(drawn.seg.nrrd\) lies on another grid .* resample=True"):
        Case.read(ct, path, head=BRATS)
    assert np.array_equal(Case.read(ct, path, head=BRATS, resample=True).label, TRUTH)
    far = write(TRUTH, segment("NCR", 1), segment("ED", 2), segment("ET", 4), origin=(100, 0, 0))
    with pytest.raises(InputError, match="No segment of drawn.seg.nrrd lies within the images"):
        Case.read(ct, far, head=BRATS)


def test_a_single_voxel_is_how_slicer_saves_nothing(ct: dict[str, str]) -> None:
    path = write(np.zeros((1, 1, 1)), segment("skull", 1), origin=(500, 0, 0))
    assert not Case.read(ct, path, head=BRATS).label.any()


def test_headers_that_contradict_the_voxels_are_refused(ct: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"its segment 0 into layer 3, but it has 1 layer"):
        Case.read(ct, write(TRUTH, segment("ET", 4, 3)))
    with pytest.raises(InputError, match=r"wrong number for its segment 0"):
        Case.read(ct, write(TRUTH, {**segment("ET"), "LabelValue": "four"}))
    with pytest.raises(InputError, match=r'stored as "Fractional labelmap"'):
        Case.read(ct, write(TRUTH, segment("ET", 4), Segmentation_SourceRepresentation="Fractional labelmap"))
    with pytest.raises(InputError, match=r'"label 2" \('):  # voxels that no segment has
        Case.read(ct, write(TRUTH, segment("ET", 1), segment("NCR", 4)), head=BRATS)


def test_regions_and_targets_are_read_as_references_are(ct: dict[str, str]) -> None:
    case = Case.read(ct)
    path = layered(**NESTED)
    assert np.array_equal(read_mask(path, case.grid), TRUTH > 0)
    assert np.array_equal(read_label(path, case.grid, BRATS), TRUTH)
    assert np.array_equal(attacks.UniformNoise(region=path).region_mask(case), TRUTH > 0)
    cut = write((TRUTH > 0)[1:5], segment("any", 1), origin=(0, 0, 1))
    assert np.array_equal(read_mask(cut, Grid(case.shape, case.affine)), TRUTH > 0)


def test_the_command_line_asks_and_takes_the_answer(ct: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    torch.jit.script(Perfect()).save("net.ts")
    path = write(np.where(TRUTH == 2, 1, np.where(TRUTH > 0, 2, 0)), segment("swelling", 1), segment("core=x", 2))
    command = ["segment", "--channel", "CT=ct.nrrd", "--label", path, "--model", "net.ts", "--trust", "--model-channels", "CT"]
    command += ["--classes", "0=background,1=core,2=oedema", "--device", "cpu", "--output", "out"]
    assert main(command) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert '"swelling" (' in said and '"core=x" (' in said and '--label-names "swelling=core"' in said
    assert main([*command, "--label-names", "swelling=oedema", "--label-names", "core=x=core"]) == 0


def test_files_that_slicer_writes(ct: dict[str, str], tmp_path: Path) -> None:
    helpers = pytest.importorskip("scene_helpers")
    masks = {**NESTED, "Hirnödem|x": np.zeros(SHAPE, bool)}
    with helpers.clean_scene() as scene:
        affine = Case.read(ct).affine
        volume = helpers.add_volume(scene, "ct", np.zeros(SHAPE, np.int16), affine)
        node = helpers.segmentation_of(scene, masks, affine, volume)
        labels = helpers.scenes.case_of_nodes({"CT": volume}, reference=node, head=BRATS).label
        for crop in (False, True):
            storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
            storage.SetFileName(str(tmp_path / f"slicer-{crop}.seg.nrrd"))
            storage.SetCropToMinimumExtent(crop)
            assert storage.WriteData(node)
            read = Case.read(ct, tmp_path / f"slicer-{crop}.seg.nrrd", head=BRATS).label
            assert np.array_equal(read, labels) and np.array_equal(read, TRUTH)
    assert SimpleITK.ReadImage(str(tmp_path / "slicer-True.seg.nrrd")).GetSize() < SHAPE[::-1]
