"""What stands around the views of a picture: it covers none of them, says its units, and is read on any image."""

from __future__ import annotations

import types
from collections.abc import Mapping

import numpy as np
import pytest
from conftest import toy_case

from SegAdversarialLib.attacks.result import AttackResult
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.scene import montage, pictures
from SegAdversarialLib.scene.view import TILE, frame_of

pytest.importorskip("matplotlib")

FEW = {1: "tumour"}
MANY = {n: f"structure with a long name, number {n}" for n in range(1, 15)}


def drawn(value: int, classes: Mapping[int, str], title: str = "FGSM", scale: montage.Scale | None = None) -> np.ndarray:
    """The picture of six tiles of one grey: (height, width, 3)."""
    pixels = np.full((TILE[1], TILE[0], 3), value, np.uint8)
    tiles = [montage.Tile(f"Tile {n}", "mean Dice 0.924", pixels, scale if n == 2 else None) for n in range(6)]
    figure = montage.montage(tiles, title, "phantom-007, T1, axial section at S 1 mm", classes, "reference, moved along")
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def tile_of(picture: np.ndarray, n: int) -> np.ndarray:
    left = montage._GAP + (n % 3) * (TILE[0] + montage._GAP)
    top = montage._TITLE + montage._HEAD + (n // 3) * (montage._HEAD + TILE[1])
    return picture[top : top + TILE[1], left : left + TILE[0]]


@pytest.mark.parametrize("classes", [FEW, MANY, {}])
@pytest.mark.parametrize("title", ["FGSM", "A name of an attack that is as long as its settings are many, " * 4])
def test_nothing_but_two_letters_lies_over_a_view(classes: Mapping[int, str], title: str) -> None:
    picture = drawn(90, classes, title)
    for n in range(6):
        view = tile_of(picture, n)
        assert view.shape == (TILE[1], TILE[0], 3)
        changed = (view != 90).any(2)
        assert 0 < changed.mean() < 0.005
        # at the left border and at the upper one
        rows, columns = np.nonzero(changed)
        assert ((columns < 45) | (rows < 45)).all()
    below = picture[montage._TITLE + 2 * (montage._HEAD + TILE[1]) :]
    assert (below.max(axis=(1, 2)) > 200).any() and below[-1].max() < 60  # the legend is there and whole


@pytest.mark.parametrize("grey", [0, 60, 128, 200, 255])
def test_letters_are_seen_on_every_grey(grey: int) -> None:
    view = tile_of(drawn(grey, FEW), 0)
    for letter in (view[TILE[1] // 2 - 20 : TILE[1] // 2 + 20, :45], view[:45, TILE[0] // 2 - 20 : TILE[0] // 2 + 20]):
        assert letter.max() > 230 and letter.min() < 25
        assert np.abs(letter - grey).max() > 110


def test_the_scale_says_its_unit_and_lies_between_its_ends() -> None:
    colors = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    picture = drawn(90, FEW, scale=montage.Scale(colors, "-123.4", "+123.4", "scanner units"))
    head = picture[montage._TITLE : montage._TITLE + montage._HEAD, 2 * (TILE[0] + montage._GAP) :]
    red, green = ((head == color).all(2) for color in ((255, 0, 0), (0, 255, 0)))
    assert red.any() and green.any()
    letters = np.nonzero((head.min(2) > 120).any(0))[0]
    bar = np.nonzero((red | green).any(0))[0]
    assert not set(letters) & set(bar)
    assert letters.max() < TILE[0] + montage._GAP


def pair(case, change: np.ndarray, attacked: np.ndarray):
    attack = types.SimpleNamespace(channels=None)
    result = AttackResult(case, case.with_image(case.image + change), Perturbation(change), attack, "network")
    evaluation = types.SimpleNamespace(clean=np.zeros(case.shape, np.int16), attacked=attacked)
    return result, evaluation


def test_pictures_of_several_attacks_show_one_section() -> None:
    case, generator = toy_case(), np.random.default_rng(0)
    frames = set()
    for _ in range(4):
        attacked = (generator.random(case.shape) > 0.9).astype(np.int16)
        change = generator.normal(size=case.image.shape).astype(np.float32)
        result, evaluation = pair(case, change, attacked)
        frames.add(frame_of(case.image, pictures._labelled(result, evaluation), case.affine))
    assert len(frames) == 1


def test_the_channel_that_changed_most_is_shown() -> None:
    """In its own standard deviations: 10 units are much where everything lies within 20, and little within 2000."""
    case = toy_case()
    spread = case.image.std(axis=(1, 2, 3))
    for shares, expected in (((0.1, 0.2), "B"), ((0.2, 0.1), "A")):
        change = np.ones_like(case.image) * (spread * shares).reshape(-1, 1, 1, 1).astype(np.float32)
        change[:, ::2] *= -1
        assert pictures.most_changed(pair(case, change, case.label)[0]) == expected
    flat = case.with_image(np.stack([case.image[0], np.zeros_like(case.image[0])]))
    assert pictures.most_changed(pair(flat, np.ones_like(case.image), case.label)[0]) == "B"
    assert pictures.most_changed(pair(case, np.zeros_like(case.image), case.label)[0]) == "A"
