"""How things show themselves in Python: a line, a table in a notebook, help; and keeping a result."""

from __future__ import annotations

import builtins
import pydoc
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import tiny_network, toy_case

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, evaluate, metrics, objectives, phantom
from SegAdversarialLib.attacks.documentation import settings_of
from SegAdversarialLib.attacks.result import AttackResult
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.jobs.results import read_attack
from SegAdversarialLib.showing.notebook import table


@pytest.fixture(scope="module", name="model")
def network() -> SegmentationModel:
    names = ["background", "core", "<b>rim</b>"]
    return SegmentationModel.from_network(tiny_network(), channels=("A", "B"), classes=names, name="tiny")


@pytest.fixture(scope="module", name="result")
def attacked(model: SegmentationModel) -> AttackResult:
    return attacks.IFGSM(steps=2, snapshot_every=1)(model, toy_case())


class Cells(HTMLParser):
    """The texts of a page, by their tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_everything_shows_itself_in_a_line(model: SegmentationModel, result: AttackResult) -> None:
    case = toy_case()
    first, last = (row["dice mean"] for row in (result.trace[0], result.kept_row))
    evaluation = evaluate(result, model)
    rim = evaluation.get("core", "Dice")
    shown = {
        "<Case toy: A, B; 18x16x14 voxels of 1x1x1 mm; with a reference>": case,
        "<SegmentationModel tiny: A, B -> background, core, <b>rim</b>; softmax, the whole volume at once, ": model,
        f"FGSM, epsilon 0.05, all channels of toy on tiny: mean Dice {first:.3f} -> {last:.3f}; 2 gradients": result,
        f"<Evaluation against the label: Dice core {rim['before']:.3f} -> {rim['after']:.3f}, ": evaluation,
        "<Perturbation: additive 2 x 18x16x14 up to ": result.perturbation,
        "<Snapshot of iteration 0: 2 channels of 18x16x14 voxels>": result.snapshots[0],
        "<Prediction of 18x16x14 voxels; its outputs claim ": model.predict(case),
        "<Case: A; 3x2x1 voxels of 1x1x1 mm; without a reference>": Case(np.zeros((1, 1, 2, 3)), "A", np.eye(4)),
        "<Perturbation: none>": Perturbation(),
    }
    for start, thing in shown.items():
        line = repr(thing)
        assert start in line
        assert "\n" not in line and len(line) < 300


def test_an_attack_that_never_saw_the_clean_image_claims_no_dice_before(model: SegmentationModel) -> None:
    result = attacks.PGD(steps=1, random_start=True)(model, toy_case())
    assert f"mean Dice {result.kept_row['dice mean']:.3f};" in repr(result)
    assert "Dice" not in repr(attacks.UniformNoise()(None, toy_case()))


def test_notebooks_get_tables(model: SegmentationModel, result: AttackResult) -> None:
    evaluation = evaluate(result, model)
    cells = Cells(evaluation._repr_html_())
    assert cells.tags.count("tr") == 1 + len(evaluation.rows) and "<b>rim</b>" in cells.texts and "b" not in cells.tags
    cells = Cells(result._repr_html_())
    assert {"dice mean".removeprefix("dice "), "epsilon", "0.05", "steps"} <= set(cells.texts) and "b" not in cells.tags


def test_a_case_and_a_network_are_tables_in_a_notebook(model: SegmentationModel) -> None:
    image = np.arange(12, dtype=np.float32).reshape(2, 1, 2, 3)
    label = np.array([[[0, 0, 0], [0, 2, 2]]], np.int16)
    case = Case(image, ("A", "<b>"), np.diag([10.0, 10, 10, 1]), label, {2: "rim"}, dtypes=("int16", "float32"))
    cells = Cells(case._repr_html_())
    assert cells.texts[1:11] == ["channel", "least", "mean", "most", "stored as", "A", "0", "2.5", "5", "int16"]
    assert cells.texts[11:16] == ["<b>", "6", "8.5", "11", "float32"]
    assert cells.texts[-7:] == ["0", "4", "4", "2", "rim", "2", "2"]  # what 0 is has no name: an empty cell
    assert cells.tags.count("table") == 2 and Cells(Case(image, ("A", "B"), np.eye(4))._repr_html_()).tags.count("table") == 1
    shown = Cells(model._repr_html_())
    assert shown.texts[0] == repr(model).strip("<>") and set(model.head.names) <= set(shown.texts)


def test_nothing_in_a_table_is_read_as_html() -> None:
    page = table([{"<i>": "<script>", "n": float("nan"), "x": (1, None), "y": True}], ("<i>", "n", "x", "y"), "a & b")
    assert Cells(page).texts == ["a & b", "<i>", "n", "x", "y", "<script>", "undefined", "1, ", "yes"]


def test_help_says_what_the_settings_are() -> None:
    for cls in attacks.ATTACKS.values():
        text = " ".join(str(cls.__doc__).split())
        assert text.startswith(cls.one_line()) and cls.citation in text
        for setting in settings_of(cls):
            assert f"{setting.name} = {setting.default}" in text and " ".join(setting.description.split()) in text
            assert setting.unit in text
        assert "Settings" not in cls.model_json_schema()["description"]
    page = pydoc.plain(pydoc.render_doc(attacks.FGSM))
    assert "FGSM(*, channels=None, region=None, " in page and "fraction of the largest intensity, or scanner units" in page


def test_dir_shows_what_is_for_users() -> None:
    assert set(dir(attacks)) == set(attacks.__all__)
    helpers = {"ATTACKS", "GROUPS", "Attack", "AttackResult", "Snapshot", "attack_class", "make_attack"}
    assert set(dir(attacks)) - helpers == {cls.__name__ for cls in attacks.ATTACKS.values()}
    for module in (objectives, phantom, metrics):
        assert dir(module) == sorted(module.__all__) and all(hasattr(module, x) for x in dir(module))


def test_a_saved_result_is_read_as_a_jobs_result(model: SegmentationModel, result: AttackResult, tmp_path: Path) -> None:
    evaluation = evaluate(result, model)
    assert result.save(tmp_path / "one") == tmp_path / "one"
    result.save(tmp_path / "two", evaluation, ending=".nrrd")
    for name in ("one", "two"):
        again, measured = read_attack(tmp_path / name, toy_case())
        np.testing.assert_array_equal(again.adversarial.image, result.adversarial.image)
        assert again.trace == result.trace and measured.rows == evaluation.rows and len(again.snapshots) == 3
        assert again.attack == result.attack
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not SegAdversarial results"):
        result.save(tmp_path / "mine", evaluation)


def test_a_result_without_a_network_is_saved_with_one(model: SegmentationModel, tmp_path: Path) -> None:
    result = attacks.UniformNoise()(None, toy_case())
    with pytest.raises(InputError, match=r"give it \(model="):
        result.save(tmp_path / "noise")
    assert not (tmp_path / "noise").exists()
    result.save(tmp_path / "noise", model=model)
    assert read_attack(tmp_path / "noise", toy_case())[0].attack == result.attack


def test_a_frame_needs_pandas_and_says_so(
    model: SegmentationModel, result: AttackResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation = evaluate(replace(result, trace=[]), model)
    assert len(evaluation.frame()) == len(evaluation.rows)
    imported = builtins.__import__

    def without_pandas(name: str, *rest: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(InputError, match="pip install pandas"):
        evaluation.frame()
