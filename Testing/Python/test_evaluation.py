"""Evaluations of real results by a stand-in model whose answer is the image itself."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import tiny_network, toy_case

from SegAdversarialLib import SegmentationModel, attacks, open_model, phantom
from SegAdversarialLib.attacks.result import AttackResult
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.evaluation.evaluation import COLUMNS, compare
from SegAdversarialLib.evaluation.measuring import evaluate, evaluate_pair
from SegAdversarialLib.evaluation.structures import check_regions
from SegAdversarialLib.evaluation.tables import format_table, write_table
from SegAdversarialLib.jobs.results import first_dice
from SegAdversarialLib.metrics import dice, hd95, iou, mean_dice, psnr, ssim, volume_ml
from SegAdversarialLib.scene.pictures import dice_in_words
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.studies.grouping import MEAN, UNCHANGED, Results
from SegAdversarialLib.studies.keeping import mean_dice as mean_dice_by_key
from SegAdversarialLib.studies.outcomes import structure_rows
from SegAdversarialLib.volumes.case import Case

AFFINE = np.diag([1.0, 2.0, 4.0, 1.0])
BRATS = OutputHead.of({0: "background", 1: "necrosis", 2: "edema", 4: "enhancing"})


class ReadsLabelsFromFirstChannel:
    """Says of each voxel the label that its first channel holds."""

    def __init__(self, head: OutputHead) -> None:
        self.head = head
        self.asked: list[Case] = []

    def predict(self, case: Case) -> SimpleNamespace:
        self.asked.append(case)
        labels = torch.from_numpy(case.image[0].round().astype(np.int16))
        return SimpleNamespace(masks=self.head.masks(labels).numpy(), labels=labels.numpy())


def brats_labels() -> np.ndarray:
    label = np.zeros((6, 10, 12), dtype=np.int16)
    label[1:5, 2:8, 2:10] = 2
    label[2:4, 3:6, 3:7] = 1
    label[2:3, 4:6, 4:6] = 4
    return label


def result_of(clean: np.ndarray, attacked: np.ndarray, label: np.ndarray | None) -> AttackResult:
    """A result whose model says `clean` before and `attacked` after; the second channel stays as it was."""
    untouched = np.arange(clean.size, dtype=np.float32).reshape(clean.shape)
    original = Case(np.stack([clean.astype(np.float32), untouched]), ("T1", "FLAIR"), AFFINE, label, name="subject")
    adversarial = original.with_image(np.stack([attacked.astype(np.float32), untouched]))
    return AttackResult(
        original, adversarial, Perturbation.between(original, adversarial), SimpleNamespace(seed=0, helps=False), "stand-in"
    )


@pytest.fixture
def broken() -> AttackResult:
    """The model was right but for one column, and loses half the tumour and all of label 4."""
    label = brats_labels()
    clean = label.copy()
    clean[:, :, 2] = 0
    attacked = clean.copy()
    attacked[:, 5:] = 0
    attacked[attacked == 4] = 2
    return result_of(clean, attacked, label)


def test_rows_hold_the_metrics_of_every_class_and_brats_region(broken):
    found = evaluate(broken, ReadsLabelsFromFirstChannel(BRATS))
    label, clean, attacked = broken.original.label, broken.original.image[0], broken.adversarial.image[0]
    sets = {"necrosis": [1], "edema": [2], "enhancing": [4], "WT": [1, 2, 4], "TC": [1, 4], "ET": [4]}
    assert list(found.success) == list(sets)
    for name, values in sets.items():
        reference, before, after = (np.isin(x, values) for x in (label, clean, attacked))
        for metric, function in (("Dice", dice), ("IoU", iou)):
            row = found.get(name, metric)
            assert (row["before"], row["after"]) == (function(before, reference), function(after, reference))
            assert row["drop"] == pytest.approx((row["before"] - row["after"]) / row["before"])
        row = found.get(name, "HD95")
        assert row["before"] == hd95(before, reference, (1, 2, 4))
        assert row["after"] == pytest.approx(hd95(after, reference, (1, 2, 4)), nan_ok=True)
        assert math.isnan(row["drop"]) and row["unit"] == "mm"
        row = found.get(name, "Volume")
        assert (row["before"], row["after"]) == (volume_ml(before, (1, 2, 4)), volume_ml(after, (1, 2, 4)))
    assert found.reference == "label"
    assert found.clean.dtype == found.attacked.dtype == np.int16
    assert np.array_equal(found.clean, clean) and np.array_equal(found.attacked, attacked)
    assert found.success["enhancing"] and found.get("ET", "Dice")["after"] == 0.0
    assert math.isnan(found.get("et", "hd95")["after"])


@pytest.mark.parametrize(
    ("classes", "regions"),
    [
        ({0: "background", 1: "liver", 2: "spleen", 4: "kidney"}, []),
        ({0: "background", 1: "NCR", 2: "ED", 3: "ET lesion", 4: "ET"}, ["WT", "TC"]),
        ({0: "background", 1: "necrosis", 2: "oedema", 3: "enhancing tumour"}, ["WT", "TC", "ET"]),
    ],
)
def test_brats_regions_are_measured_for_brats_classes_only(classes, regions) -> None:
    assert list(check_regions(OutputHead.of(classes), None)) == regions


def test_image_rows(broken):
    found = evaluate(broken, ReadsLabelsFromFirstChannel(BRATS))
    before, after = broken.original.image[0], broken.adversarial.image[0]
    assert found.get("T1", "PSNR")["value"] == psnr(before, after)
    assert found.get("T1", "SSIM")["value"] == ssim(before, after)
    assert found.get("T1", "Largest change")["value"] == 4.0
    untouched = {row["metric"]: row["value"] for row in found.rows if row.get("channel") == "FLAIR"}
    assert untouched == {"PSNR": math.inf, "SSIM": 1.0, "RMSE": 0.0, "Perceptibility": 0.0, "Largest change": 0.0}


def test_rows_are_plain_data(broken):
    rows = evaluate(broken, ReadsLabelsFromFirstChannel(BRATS)).rows
    assert {type(value) for row in rows for value in row.values()} == {str, float, bool}
    assert all(set(row) <= set(COLUMNS) for row in rows)
    assert len(json.loads(json.dumps(rows))) == len(rows) == 6 * 4 + 2 * 5


def test_the_model_is_asked_once_for_each_image(broken):
    model = ReadsLabelsFromFirstChannel(BRATS)
    first = evaluate(broken, model)
    assert model.asked == [broken.original, broken.adversarial]
    clean = model.predict(broken.original)
    model.asked.clear()
    assert repr(evaluate(broken, model, clean=clean).rows) == repr(first.rows)
    assert model.asked == [broken.adversarial]


def test_prediction_of_another_grid_is_refused(broken):
    clean = SimpleNamespace(labels=np.zeros((1, 2, 3), np.int16), masks=np.zeros((4, 1, 2, 3), bool))
    with pytest.raises(InputError, match="shape"):
        evaluate(broken, ReadsLabelsFromFirstChannel(BRATS), clean=clean)


def test_without_labels_the_clean_prediction_is_the_reference(broken):
    unlabelled = replace(
        broken, original=replace(broken.original, label=None), adversarial=replace(broken.adversarial, label=None)
    )
    found = evaluate(unlabelled, ReadsLabelsFromFirstChannel(BRATS))
    assert found.reference == "prediction"
    for name in found.success:
        assert found.get(name, "Dice")["before"] == found.get(name, "IoU")["before"] == 1.0
        assert found.get(name, "HD95")["before"] == 0.0
    clean, attacked = broken.original.image[0] > 0, broken.adversarial.image[0] > 0
    assert found.get("WT", "Dice")["after"] == dice(attacked, clean)


def test_labels_unknown_to_the_model_are_refused_before_it_is_asked(broken):
    model = ReadsLabelsFromFirstChannel(OutputHead.of(["background", "tumour"]))
    with pytest.raises(InputError, match="2, 4"):
        evaluate(broken, model)
    assert not model.asked


def test_merged_classes():
    head = OutputHead.of(["background", "tumour"], regions={1: (1, 2, 4)})
    label = brats_labels()
    found = evaluate(result_of(label > 0, np.zeros_like(label), label), ReadsLabelsFromFirstChannel(head))
    assert list(found.success) == ["tumour"]
    assert (found.get("tumour", "Dice")["before"], found.get("tumour", "Dice")["after"]) == (1.0, 0.0)
    assert found.success == {"tumour": True}


def test_sigmoid_head_with_overlapping_regions(broken):
    head = OutputHead.of({2: "WT", 1: "TC", 4: "ET"}, "sigmoid", regions={2: (1, 2, 4), 1: (1, 4)})
    softmax = evaluate(broken, ReadsLabelsFromFirstChannel(BRATS))
    sigmoid = evaluate(broken, ReadsLabelsFromFirstChannel(head), regions={"edema": (2,)})
    assert list(sigmoid.success) == ["WT", "TC", "ET", "edema"]
    for name in sigmoid.success:
        assert sigmoid.get(name, "Dice") == softmax.get(name, "Dice")


def test_regions_of_the_caller(broken):
    model = ReadsLabelsFromFirstChannel(BRATS)
    found = evaluate(broken, model, regions={"tumour": (1, 2, 4)})
    assert list(found.success) == ["necrosis", "edema", "enhancing", "tumour"]
    assert found.get("tumour", "Dice")["after"] == evaluate(broken, model).get("WT", "Dice")["after"]
    label = brats_labels()
    merged = OutputHead.of(["background", "edema", "core"], regions={1: (2,), 2: (1, 4)})
    said = np.select([np.isin(label, (1, 4)), label == 2], [2, 1], 0)
    # masks follow the model's own labels here, so the reference alone has BraTS' labels
    other = SimpleNamespace(
        head=merged,
        predict=lambda case: SimpleNamespace(
            labels=case.image[0].astype(np.int16), masks=np.stack([case.image[0] == n for n in range(3)])
        ),
    )
    found = evaluate(result_of(said, said * 0, label), other, regions={"whole": (1, 2, 4)})
    assert [found.get(name, "Dice")["before"] for name in ("edema", "core", "whole")] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("head", "regions", "message"),
    [
        (BRATS, {"edema": (2,)}, "own outputs"),
        (BRATS, {"new": (3,)}, "knows"),
        (BRATS, {"new": ()}, "knows"),
        (OutputHead.of(["background", "tumour"], regions={1: (1, 2, 4)}), {"core": (1, 4)}, "does not tell apart"),
    ],
)
def test_unfit_regions_are_refused(broken, head, regions, message):
    with pytest.raises(InputError, match=message):
        evaluate(broken, ReadsLabelsFromFirstChannel(head), regions=regions)


def test_success_begins_at_thirty_percent():
    head = OutputHead.of(["background", "organ"])
    label = np.zeros((1, 1, 40), dtype=np.int16)
    label[..., :20] = 1
    expected = {20: False, 11: False, 10: True, 0: True}
    for kept, success in expected.items():
        attacked = label.copy()
        attacked[..., kept:20] = 0
        found = evaluate(result_of(label, attacked, label), ReadsLabelsFromFirstChannel(head))
        row = found.get("organ", "Dice")
        assert row["after"] == pytest.approx(2 * kept / (20 + kept))
        assert found.success == {"organ": success}
    # from 2 * 4 / 28 to 2 * 3 / 30 is a drop of 30 %, though a little less in floating-point numbers
    clean, attacked = label * 0, label * 0
    clean[..., 16:24], attacked[..., 17:27] = 1, 1
    found = evaluate(result_of(clean, attacked, label), ReadsLabelsFromFirstChannel(head))
    assert found.get("organ", "Dice")["drop"] == pytest.approx(0.3)
    assert found.get("organ", "Dice")["drop"] < 0.3 and found.success == {"organ": True}


def test_a_structure_that_was_never_found_has_no_drop():
    head = OutputHead.of(["background", "organ"])
    label = np.ones((1, 4, 4), dtype=np.int16)
    nothing = np.zeros_like(label)
    found = evaluate(result_of(nothing, nothing, label), ReadsLabelsFromFirstChannel(head))
    row = found.get("organ", "Dice")
    assert (row["before"], row["after"], row["success"]) == (0.0, 0.0, False)
    assert math.isnan(row["drop"])


def test_unknown_row_is_refused(broken):
    with pytest.raises(InputError, match="no Dice of liver; it has necrosis Dice"):
        evaluate(broken, ReadsLabelsFromFirstChannel(BRATS)).get("liver", "Dice")


def test_frame_csv_and_table(broken, tmp_path):
    found = evaluate(broken, ReadsLabelsFromFirstChannel(BRATS))
    frame = found.frame()
    assert tuple(frame.columns) == COLUMNS and len(frame) == len(found.rows)
    assert frame[frame.structure == "WT"].set_index("metric").after["Dice"] == found.get("WT", "Dice")["after"]
    path = found.write_csv(tmp_path / "new" / "metrics.csv")
    assert [x.name for x in path.parent.iterdir()] == ["metrics.csv"]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found.rows) and tuple(rows[0]) == COLUMNS
    assert float(rows[0]["after"]) == found.rows[0]["after"]
    undefined = next(x for x in rows if x["structure"] == "ET" and x["metric"] == "HD95")
    assert undefined["after"] == "" and undefined["channel"] == "" and undefined["success"] == ""
    text = found.table()
    line = next(x for x in text.splitlines() if x.startswith("ET") and "HD95" in x)
    assert line.split() == ["ET", "HD95", "mm", f"{found.get('ET', 'HD95')['before']:.4g}", "undefined"]
    assert "against the label" in text and "inf" in text and "nan" not in text


def test_failed_csv_leaves_nothing(broken, tmp_path):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="Cannot write"):
        evaluate(broken, ReadsLabelsFromFirstChannel(BRATS)).write_csv(tmp_path / "folder.csv")
    with pytest.raises(ValueError):
        write_table([{"a": 1.0}], tmp_path / "table.csv", ["b"])
    assert [x.name for x in tmp_path.iterdir()] == ["folder.csv"]


def test_compare_lines_attacks_up(broken, tmp_path):
    model = ReadsLabelsFromFirstChannel(BRATS)
    harmless = replace(broken, adversarial=broken.original)
    rows = compare({"FGSM": evaluate(broken, model), "nothing": evaluate(harmless, model, regions={})})
    assert [row["attack"] for row in rows] == ["FGSM", "nothing"]
    # the untouched channel is left out of the mean
    assert rows[0]["mean PSNR"] == psnr(broken.original.image[0], broken.adversarial.image[0])
    assert rows[1]["mean PSNR"] == math.inf
    assert rows[0]["WT Dice after"] < rows[0]["WT Dice before"] and "WT Dice before" not in rows[1]
    assert rows[1]["edema Dice before"] == rows[1]["edema Dice after"]
    lines = format_table(rows).splitlines()
    assert len(lines) == 6 and lines[2].split()[:4] == ["attack", "reference", "before", "after"]
    assert lines[5].startswith("nothing  label")
    with write_table(rows, tmp_path / "compare.csv").open(newline="") as file:
        assert [row["mean PSNR"] for row in csv.DictReader(file)] == [repr(rows[0]["mean PSNR"]), "inf"]


@pytest.mark.parametrize("value", [0.0, 80.0])
def test_a_channel_of_one_intensity_has_no_psnr_and_none_in_means(value):
    """Its range, by which errors are divided, is 0: the other channel alone counts, in table, trace and words."""
    case = toy_case()
    case = replace(case, image=np.stack([case.image[0], np.full(case.shape, value, np.float32)]))
    model = SegmentationModel.from_network(
        tiny_network(2).float(), channels=("A", "B"), classes=["background", "core", "rim"], device="cpu"
    )
    attack = attacks.FGSM(epsilon=5, epsilon_units="absolute", clip=False)
    result = attack(model, case)
    assert np.abs(result.change()[1]).max() == 5
    span = float(case.image[0].max() - case.image[0].min())
    by_hand = 20 * math.log10(span / math.sqrt(np.mean(result.change()[0].astype(np.float64) ** 2)))
    assert result.kept_row["psnr"] == pytest.approx(by_hand, abs=1e-4)
    found = evaluate(result, model)
    (row,) = compare({"FGSM": found})
    assert row["mean PSNR"] == pytest.approx(by_hand, abs=1e-9) and f"PSNR {by_hand:.1f} dB" in repr(found)
    assert [x for x in found.notes if x.startswith("B: one single intensity")]

    only = attack.model_copy(update={"channels": ("B",)})(model, case)
    assert math.isnan(only.kept_row["psnr"]) and only.trace[0]["psnr"] == math.inf
    (row,) = compare({"FGSM": evaluate(only, model)})
    assert math.isnan(row["mean PSNR"])


@pytest.mark.parametrize("regions", [None, {}, {"all of it": (1, 2, 4), "core": (1, 4)}])
def test_the_mean_dice_is_one_number_wherever_it_stands(regions):
    """That of the network's three classes, by hand, whatever else is measured: in trace, evaluation, table, picture, study,
    audit and the words of an attack; regions that were asked for are shown and do not count."""
    model, case = open_model("builtin:brain-tumour-phantom", device="cpu"), phantom.subject(3, (32, 32, 32))
    result = attacks.IFGSM(epsilon=0.02, steps=2)(model, case)
    answers = [model.predict(x) for x in (case, result.adversarial)]
    before, after = (np.mean([dice(x.labels == n, case.label == n) for n in (1, 2, 4)]) for x in answers)
    assert after < before - 0.05
    found = evaluate(result, model, regions, *answers, warn=False)
    extra = ("WT", "TC", "ET") if regions is None else tuple(regions)
    assert found.regions == extra and set(extra) < {x.get("structure") for x in found.rows} | {""}
    assert found.mean_dice == pytest.approx((before, after))
    assert (result.trace[0]["dice mean"], result.kept_row["dice mean"]) == pytest.approx((before, after))
    (row,) = compare({"i-FGSM": found})
    assert (row["mean Dice before"], row["mean Dice after"]) == pytest.approx((before, after))
    if extra:
        words = [dice_in_words(found, when) for when in ("before", "after")]
        assert words == [f"mean Dice {before:.3f}", f"mean Dice {after:.3f}"]
    assert f"mean Dice {before:.3f} -> {after:.3f}" in repr(result)
    assert first_dice(answers[0], model.head, case).startswith(f"mean Dice {before:.3f} ")
    about = {"key": "k", "network": "n", "case": "c", "patient": "p", "attack": "i-FGSM", "settings": {}, "budget": 0.02}
    rows = [about | x for x in structure_rows(found)]
    assert mean_dice_by_key(rows) == {"k": pytest.approx(after)}
    results = Results(rows)
    assert [*results.values("n", results.conditions[0], MEAN).values()] == [pytest.approx(after)]
    assert [*results.values("n", UNCHANGED, MEAN).values()] == [pytest.approx(before)]


def test_of_a_network_that_answers_in_regions_these_are_the_mean():
    """The regions are its own structures there, by hand."""
    head = OutputHead.of({1: "WT", 2: "TC"}, regions={1: (1, 2, 4), 2: (1, 4)}, kind="sigmoid")
    label = brats_labels()
    masks = np.stack([np.isin(label, (1, 2, 4)), np.zeros(label.shape, bool)])
    answer = SimpleNamespace(masks=masks, labels=masks[0].astype(np.int16))
    result = result_of(label, label, label)
    model = SimpleNamespace(head=head)
    found = evaluate(result, model, {"edema": (2,)}, answer, answer, warn=False)
    assert found.regions == ("edema",) and found.mean_dice == (0.5, 0.5)


def test_undefined_structures_do_not_count_in_the_mean():
    assert mean_dice([0.5, math.nan, 1.0]) == 0.75 and math.isnan(mean_dice([]))


def test_table_is_aligned():
    values = {"a": 1.0, "long one": math.nan, "b": 123456.7}
    text = format_table([{"name": name, "mean value": value} for name, value in values.items()])
    assert text.splitlines() == [
        "               mean",
        "name          value",
        "--------  ---------",
        "a                 1",
        "long one  undefined",
        "b            123457",
    ]
    assert format_table([]) == ""


def test_any_pair_is_measured_like_an_attack(broken):
    model = ReadsLabelsFromFirstChannel(BRATS)
    pair = (broken.original, broken.adversarial)
    expected = repr(evaluate(broken, model).rows)
    assert repr(evaluate_pair(*pair, model).rows) == expected
    answers = [model.predict(case) for case in pair]
    model.asked.clear()
    assert repr(evaluate_pair(*pair, model, clean=answers[0], attacked=answers[1]).rows) == expected
    assert not model.asked
    with pytest.raises(InputError, match="same channels; they have T1, FLAIR and T1, T2"):
        evaluate_pair(broken.original, replace(broken.adversarial, channels=("T1", "T2")), model)
    with pytest.raises(InputError, match="same grid"):
        evaluate_pair(broken.original, replace(broken.adversarial, affine=np.eye(4)), model)
