"""The learned universal perturbation against networks whose best pattern is known, its file, and its way through jobs."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import toy_case
from test_attacks import assert_within_budget, toy_model

from SegAdversarialLib import Case, InputError, SegmentationModel, attacks, open_model, phantom
from SegAdversarialLib.attacks import UniversalPerturbation, make_attack
from SegAdversarialLib.attacks.engine.pattern import Pattern
from SegAdversarialLib.cli import main
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.jobs import make_job, read_job, run

SHAPE = (6, 7, 8)


class Weighted(torch.nn.Module):
    """A linear network: the structure's logit is a weighted sum of the channels, the weights differ from voxel to voxel."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("weights", torch.from_numpy(weights.astype(np.float32)))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        score = ((batch - 300) * self.weights).sum(1, keepdim=True) / 300
        return torch.cat([torch.zeros_like(score), score], 1)


def linear(seed: int = 0, channels: tuple[str, ...] = ("A", "B")) -> tuple[SegmentationModel, np.ndarray]:
    weights = np.random.default_rng(seed).normal(0, 1, (len(channels), *SHAPE))
    return SegmentationModel.from_network(Weighted(weights), channels=channels, classes=["background", "core"]), weights


def subject(seed: int, label: np.ndarray | None = None, channels: tuple[str, ...] = ("A", "B")) -> Case:
    image = np.random.default_rng(seed).uniform(100, 500, (len(channels), *SHAPE)).astype(np.float32)
    return Case(image, channels, np.eye(4), np.ones(SHAPE, np.int16) if label is None else label, name=f"subject {seed}")


def learned(**settings: Any) -> UniversalPerturbation:
    model, _ = linear()
    return UniversalPerturbation.learn(model, [subject(n) for n in range(4)], **{"epochs": 3, **settings})


@pytest.mark.parametrize("loss", ["cross_entropy", "masked_cross_entropy", "soft_dice"])
def test_learns_the_best_pattern_of_a_linear_network(loss: str) -> None:
    """Where everything is structure, the worst that can be added to every subject is - epsilon * sign(weights)."""
    model, weights = linear()
    attack = UniversalPerturbation.learn(
        model, [subject(n) for n in range(4)], epochs=4, loss=loss, step_size=0.01, clip=False
    )
    np.testing.assert_array_equal(attack.pattern().values, -np.sign(weights))
    unseen = subject(99)
    unit = np.abs(unseen.image).max((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(
        attack(None, unseen).adversarial.image, unseen.image - 0.02 * unit * np.sign(weights), rtol=1e-5
    )


def test_what_counts_is_what_most_cases_want() -> None:
    """Two cases say structure, one says background, each in its own half: the pattern goes with the majority."""
    model, weights = linear()
    half = np.zeros(SHAPE, np.int16)
    half[:3] = 1
    cases = [subject(1, half), subject(2, half), subject(3, 1 - half)]
    for case in cases:
        case.image[:] = 300 + (case.image - 300) / 100  # so that no case's answer is surer than another's
    attack = UniversalPerturbation.learn(model, cases, epochs=20, loss="cross_entropy", clip=False, momentum=0)
    wanted = np.where(half, -1, 1) * np.sign(weights)
    assert (np.sign(attack.pattern().values) == wanted).all()


def test_channels_region_and_units() -> None:
    model, weights = linear()
    region = np.zeros(SHAPE, bool)
    region[2:5, 1:6] = True
    cases = [subject(n) for n in range(3)]
    attack = UniversalPerturbation.learn(
        model, cases, epochs=3, channels="B", region=region, epsilon=20, epsilon_units="absolute", clip=False, step_size=20
    )
    assert attack.pattern().channels == ("B",) and attack.region is None
    np.testing.assert_array_equal(attack.pattern().values[0], np.where(region, -np.sign(weights[1]), 0))
    result = attack(model, subject(9))
    np.testing.assert_array_equal(result.adversarial.image[0], result.original.image[0])
    np.testing.assert_allclose(result.perturbation.additive[1][region], -20 * np.sign(weights[1][region]), atol=1e-4)
    smaller = np.zeros(SHAPE, bool)
    smaller[3, 2] = True
    applied = attack.model_copy(update={"region": smaller})(None, subject(9))
    np.testing.assert_array_equal(applied.perturbation.additive.any(0), smaller)


def test_subjects_may_order_their_channels_as_they_like() -> None:
    attack, case = learned(clip=False), subject(50)
    turned = Case(case.image[::-1].copy(), ("b", "a"), case.affine, case.label)
    np.testing.assert_array_equal(attack(None, turned).adversarial.image[::-1], attack(None, case).adversarial.image)
    mixed = [subject(0), Case(subject(1).image[::-1].copy(), ("B", "A"), np.eye(4), subject(1).label), subject(2), subject(3)]
    model, _ = linear()
    again = UniversalPerturbation.learn(model, mixed, epochs=3, clip=False)
    np.testing.assert_array_equal(again.pattern().values, attack.pattern().values)
    wider = Case(np.stack([*case.image, case.image[0]]), ("A", "B", "C"), case.affine)
    assert not attack(None, wider).perturbation.additive[2].any()


@pytest.mark.parametrize("units", ["relative", "absolute"])
@pytest.mark.parametrize("settings", [{}, {"clip": False}, {"quantize": True}, {"channels": ("B",)}], ids=str)
def test_budget_on_any_subject(units: str, settings: dict[str, Any]) -> None:
    pattern = np.random.default_rng(0).uniform(-1, 1, (2, 14, 16, 18))
    case = toy_case(seed=3)
    attack = UniversalPerturbation(
        perturbation=pattern, epsilon={"relative": 0.1, "absolute": 30}[units], epsilon_units=units, **settings
    )
    result = attack(toy_model(), case)
    assert_within_budget(attack, case, result.perturbation.additive)
    assert result.perturbation.additive[1].any()
    assert bool(result.perturbation.additive[0].any()) is (attack.channels is None)
    assert (result.forward_evaluations, result.gradient_evaluations, result.trace) == (0, 0, [])
    if attack.clip:
        for before, after in zip(case.image, result.adversarial.image):
            assert before.min() <= after.min() and after.max() <= before.max()


def test_seeds_and_orders() -> None:
    """The same seed learns the same; another goes through the cases in another order. A function sets its own."""
    model = toy_model()
    cases = [toy_case((8, 9, 10), seed=n) for n in range(5)]
    first, again, other = (UniversalPerturbation.learn(model, cases, epochs=2, seed=n).pattern() for n in (1, 1, 2))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    given = UniversalPerturbation.learn(model, lambda: iter(cases), epochs=2, seed=1).pattern()
    once_more = UniversalPerturbation.learn(model, lambda: iter(cases), epochs=2, seed=2).pattern()
    np.testing.assert_array_equal(given.values, once_more.values)
    by_epoch = first.learned["by_epoch"]
    assert [x["epoch"] for x in by_epoch] == [0, 1] and by_epoch[1]["loss"] > by_epoch[0]["loss"]
    assert first.learned["cases"] == 5 and first.learned["epochs"] == 2


def test_cases_need_not_lie_in_memory() -> None:
    """A sequence that makes a case when it is asked for one: never more than two are alive."""
    alive: weakref.WeakSet[Case] = weakref.WeakSet()
    most = 0

    class OnDemand(Sequence[Case]):
        def __len__(self) -> int:
            return 12

        def __getitem__(self, number: Any) -> Any:
            nonlocal most
            case = subject(number)
            alive.add(case)
            gc.collect()
            most = max(most, len(alive))
            return case

    UniversalPerturbation.learn(linear()[0], OnDemand(), epochs=2)
    assert 1 <= most <= 2


def test_files(tmp_path: Path) -> None:
    attack = learned()
    path = tmp_path / "folder" / "pattern.safetensors"
    saved = attack.save(path)
    case = subject(7)
    np.testing.assert_array_equal(saved(None, case).adversarial.image, attack(None, case).adversarial.image)
    read = Pattern.read(path)
    assert read.learned == attack.pattern().learned and read.channels == ("A", "B")
    described = UniversalPerturbation(perturbation=path)(None, case).describe()["attack"]
    assert described["fingerprint"] == attack.pattern().fingerprint == saved.fingerprint
    again = make_attack(described.pop("attack"), json.loads(json.dumps(described)))
    np.testing.assert_array_equal(again(None, case).adversarial.image, attack(None, case).adversarial.image)
    assert attack.describe()["perturbation"]["fingerprint"] == saved.fingerprint
    learned(epochs=2).save(path)  # another one in its place
    with pytest.raises(InputError, match="another one"):
        again(None, case)
    path.write_bytes(b"no tensors")
    for wrong, message in ((path, "damaged"), (tmp_path / "none", "no perturbation file"), (tmp_path, "no perturbation file")):
        with pytest.raises(InputError, match=message):
            UniversalPerturbation(perturbation=wrong).check(None, case)
    builtin = Path(open_model.__globals__["__file__"]).parents[2] / "Resources" / "brain-tumour-phantom.safetensors"
    with pytest.raises(InputError, match="holds no universal perturbation"):
        UniversalPerturbation(perturbation=builtin).check(None, case)


def test_what_is_refused() -> None:
    model, case = linear()[0], subject(0)
    attack = learned()
    small = Case(case.image[:, :4].copy(), case.channels, case.affine, np.ones((4, 7, 8), np.int16), name="small")
    only = Case(case.image[:1].copy(), ("C",), case.affine)
    wide = Case(np.stack([*case.image, case.image[0]]), ("A", "B", "C"), case.affine)
    wrong = [
        (UniversalPerturbation(), case, "needs the file"),
        (attack, small, "learned on 6x7x8 voxels, the case small has 4x7x8"),
        (attack, only, "for A, B, of which"),
        (attack.model_copy(update={"channels": ("C",)}), wide, "has no channel C; it has A, B"),
        (UniversalPerturbation(perturbation=np.zeros((3, *SHAPE))), case, "3 channel"),
    ]
    for one, subject_, message in wrong:
        with pytest.raises(InputError, match=message):
            one(None, subject_)
    for settings, message in (
        ({"perturbation": np.full((2, *SHAPE), 1.5)}, "between -1 and 1"),
        ({"perturbation": np.full((2, *SHAPE), np.nan)}, "between -1 and 1"),
        ({"perturbation": np.zeros(SHAPE)}, "has the shape"),
        ({"perturbation": 7}, "must be a file"),
    ):
        with pytest.raises(InputError, match=message):
            make_attack("universal-perturbation", settings)
    unlabelled = Case(case.image, case.channels, case.affine, name="bare")
    for cases, settings, message in (
        ([], {}, "no cases"),
        (iter([case]), {}, "as a list, or as a function"),
        ([case, small], {}, "resample them"),
        ([unlabelled], {}, r"no label map; give it one \(label\), .*--set against=prediction"),
        ([case], {"classes": "liver"}, "no class liver"),
        ([case], {"channels": "C"}, "no channel C"),
        ([case], {"loss": "none"}, "no such loss"),
        ([case], {"epochs": 0}, "epochs"),
        ([case], {"perturbation": "x"}, "leave it out"),
        ([case], {"stride": 1}, "no setting stride"),
    ):
        with pytest.raises(InputError, match=message):
            UniversalPerturbation.learn(model, cases, **settings)
    UniversalPerturbation.learn(model, [unlabelled], against="prediction", epochs=1)


def test_progress_and_cancel() -> None:
    seen: list[float] = []
    model, cases = linear()[0], [subject(n) for n in range(3)]
    UniversalPerturbation.learn(model, cases, epochs=2, progress=lambda fraction, text: seen.append(fraction))
    assert seen == pytest.approx([n / 6 for n in range(6)])
    with pytest.raises(Cancelled):
        UniversalPerturbation.learn(model, cases, epochs=2, cancel=lambda: True)


def test_learned_and_applied_by_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["learn-universal", "--phantom", "100", "--phantom", "101", "--phantom-size", "32", "--device", "cpu"]
    words += ["--set", "epochs=2", "--set", "epsilon=0.05", "--output", str(tmp_path / "learned")]
    assert main(words) == 0
    path = tmp_path / "learned" / "perturbation.safetensors"
    assert Pattern.read(path).learned["network"] == "builtin:brain-tumour-phantom"
    assert read_job(tmp_path / "learned" / "job.json").kind == "learn-universal"
    assert main(["run", str(tmp_path / "learned" / "job.json")]) == 0
    attack = ["attack", "--phantom", "200", "--phantom-size", "32", "--device", "cpu", "--attack", "universal-perturbation"]
    attack += ["--set", "epsilon=0.05", "--output", str(tmp_path / "attacked")]
    assert main([*attack, "--set", f"perturbation={path}"]) == 0
    record = json.loads((tmp_path / "attacked" / "universal-perturbation" / "result.json").read_text())
    assert record["attack"]["fingerprint"] == Pattern.read(path).fingerprint and max(record["largest_change"].values()) > 0
    capsys.readouterr()
    assert main(attack) == 2 and "needs the file of a perturbation" in capsys.readouterr().err
    (tmp_path / "case.json").write_text("[]")
    assert main(["learn-universal", "--case", str(tmp_path / "case.json"), "--output", str(tmp_path / "x")]) == 2
    assert main(["learn-universal", "--case", str(tmp_path / "none.json"), "--output", str(tmp_path / "x")]) == 2
    assert main(["learn-universal", "--output", str(tmp_path / "x")]) == 2


def test_jobs_lose_nothing_and_refuse_what_is_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"kind": "learn-universal", "cases": [{"channels": {"A": "a.nii.gz"}}], "output": "out"}
    monkeypatch.chdir(tmp_path)
    assert make_job(job).anywhere().cases[0].channels["A"] == str(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="no setting progress"):
        make_job({**job, "settings": {"progress": 1}})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "perturbation.safetensors").write_text("the user's own")
    with pytest.raises(InputError, match="would be overwritten"):
        run(make_job({**job, "cases": [{"phantom": {"shape": [32, 32, 32]}}]}))
    (tmp_path / "p.safetensors").write_text("")
    attack = {"attack": "universal-perturbation", "perturbation": "p.safetensors", "region": "foreground"}
    (tmp_path / "foreground").write_text("")
    stored = make_job({"kind": "attack", "case": job["cases"][0], "attacks": [attack], "output": "o"}).anywhere().attacks[0]
    assert stored == {**attack, "perturbation": str(tmp_path / "p.safetensors")}


def test_harms_more_than_chengs_on_unseen_phantoms() -> None:
    """Learned on some small phantoms, at the same largest change, applied to others."""
    model = open_model("builtin:brain-tumour-phantom", device="cpu")
    shape, epsilon = (32, 32, 32), 0.05
    attack = UniversalPerturbation.learn(model, list(phantom.cohort(range(100, 108), shape)), epsilon=epsilon, epochs=3)
    cheng = attacks.UniversalRandomPerturbation(epsilon=epsilon, radius=0, epsilon_units="relative", clip=True)

    def mean_dice(one: attacks.Attack) -> float:
        values = []
        for case in phantom.cohort((200, 201, 202), shape):
            said = model.segment(one(None, case).adversarial)
            for n in (1, 2, 4):
                values.append(2 * ((said == n) & (case.label == n)).sum() / ((said == n).sum() + (case.label == n).sum()))
        return float(np.mean(values))

    assert mean_dice(attack) < mean_dice(cheng) - 0.02
