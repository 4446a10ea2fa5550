"""Pictures of results: a tile for each part of what was done, and the reference that moved. Drawn by Slicer's own views."""

from __future__ import annotations

import types

import numpy as np
import pytest
from scene_helpers import (
    _drawing,  # noqa: F401  (a fixture)
    lps_case,
    make_evaluation,
)

from SegAdversarialLib.attacks.result import AttackResult
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.scene import montage, pictures, view
from SegAdversarialLib.volumes.case import Case


def made_of(case: Case, **parts: np.ndarray) -> AttackResult:
    """What a perturbation of some parts does to a case, reference included."""
    attack = types.SimpleNamespace(channels=None, seed=0, summary=lambda: "Chain, all channels")
    perturbation = Perturbation(**{name: values.astype(np.float32) for name, values in parts.items()})
    return AttackResult(case, perturbation.apply(case, warp_label=True), perturbation, attack, "network")  # type: ignore[arg-type]


def tiles_of(result: AttackResult) -> dict[str, montage.Tile]:
    case = result.original
    evaluation, frame = make_evaluation(case), view.frame_of(case.image[0], case.label, case.affine)
    tiles = pictures._draw_tiles(result, evaluation, "T1", frame, {1: "tumour"})
    assert len({x.title for x in tiles}) == len(tiles)
    return {x.title: x for x in tiles}


def test_pictures_show_each_part_of_what_was_done(drawing) -> None:
    case = lps_case()
    bias = np.full((1, *case.shape), np.log(1.25))
    moved = np.zeros((3, *case.shape))
    moved[0] = 6.0
    first = ["Original", "Adversarial"]
    second = ["Reference", "Network on the original", "Network on the adversarial"]
    assert list(tiles_of(made_of(case, additive=0.1 * case.image))) == [*first, "Change", *second]
    assert list(tiles_of(made_of(case, displacement=moved))) == [*first, "Displacement", *second]
    found = tiles_of(made_of(case, log_bias=bias))
    assert list(found) == [*first, "Bias field", *second]
    scale = found["Bias field"].scale
    assert scale is not None and (scale.least, scale.greatest, scale.unit) == ("\N{MINUS SIGN}25", "+25", "%")
    # 25 % more everywhere: the end of the scale, in the air, too
    np.testing.assert_allclose(found["Bias field"].pixels[360, 320] / 255, scale.colors[-1], atol=0.01)
    two = tiles_of(made_of(case, displacement=moved, log_bias=bias))
    assert list(two) == [*first, "Displacement", "Bias field", *second, "Change"]
    three = tiles_of(made_of(case, displacement=moved, log_bias=bias, additive=case.image))
    assert list(three) == [*first, "Displacement", "Bias field", *second, "Added"]


def test_grid_lines_and_the_outlined_reference_move_with_the_anatomy(drawing) -> None:
    """A displacement of +6 mm to the right moves what is seen 6 mm to the left: to the right in the picture."""
    case = lps_case()
    moved = np.zeros((3, *case.shape))
    moved[0] = 6.0
    tiles = tiles_of(made_of(case, displacement=moved))
    shown = {name: tile.pixels.astype(int) for name, tile in tiles.items()}
    scale = tiles["Displacement"].scale
    assert scale is not None and (scale.least, scale.greatest, scale.unit) == ("0", "6", "mm")
    # all of it is moved by as much as anything: red lines
    red = (shown["Displacement"] - shown["Adversarial"])[..., 0] > 60
    assert 0.005 < red.mean() < 0.3

    def middle(image: np.ndarray) -> float:
        return float(np.nonzero((image.min(2) > 200).any(0))[0].mean())

    width = middle(shown["Adversarial"]) - middle(shown["Original"])
    assert width > 20
    colored = np.ptp(shown["Network on the adversarial"], axis=2) > 60
    reference = np.ptp(shown["Reference"], axis=2) > 60
    outline = np.nonzero(colored.any(0))[0].max() - np.nonzero(reference.any(0))[0].max()
    assert outline == pytest.approx(width, abs=8)
    # the lines begin where the volume's border has gone to
    assert np.nonzero(red.any(0))[0].min() > width / 2
