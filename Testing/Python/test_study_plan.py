"""A study's cells: each once, the same ones in whatever order the file says them, with what they need before them."""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st

from SegAdversarialLib.attacks import make_attack
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies.plan import Plan, plan
from SegAdversarialLib.studies.study import Study

NETWORK = "builtin:brain-tumour-phantom"
CHANNELS = ("T1", "T1ce", "T2", "FLAIR")


def planned(**parts: Any) -> Plan:
    folder = parts.pop("folder", ".")
    usual = {"study": "s", "cohort": "phantom:0-1@32", "networks": {"unet": NETWORK}, "attacks": [], "audit": False}
    return plan(Study.of({**usual, **parts}, folder))


def configured(plan: Plan, *names: str) -> set[tuple[Any, ...]]:
    """Of each attack some of its settings."""
    return {tuple(_hashable(x.settings[name]) for name in names) for x in plan.cells if x.kind == "attack"}


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def test_a_list_where_one_value_belongs_spans_the_grid() -> None:
    found = planned(attacks=[{"attack": "pgd", "epsilon": [0.01, 0.05], "steps": [1, 2, 3], "random_start": False}])
    assert configured(found, "epsilon", "steps") == set(itertools.product((0.01, 0.05), (1, 2, 3)))
    assert len(found.cells) == 2 * 6


@pytest.mark.parametrize(
    ("channels", "meant"),
    [
        ("T1", [("T1",)]),
        (["T1", "T2"], [("T1", "T2")]),
        ([["T1"], ["T2"]], [("T1",), ("T2",)]),
        ([["T1"], "T2", "all"], [("T1",), ("T2",), None]),
        ("each", [(x,) for x in CHANNELS]),
        ("all", [None]),
        (None, [None]),
        (["each", "all", ["T1", "T2"]], [*((x,) for x in CHANNELS), None, ("T1", "T2")]),
        ([None, ["T1"]], [None, ("T1",)]),
    ],
)
def test_channels_span_the_grid_as_lists_of_lists(channels: Any, meant: list[Any]) -> None:
    found = planned(attacks=[{"attack": "fgsm", "channels": channels}])
    assert configured(found, "channels") == {(x,) for x in meant}


def test_settings_that_take_lists_span_by_lists_of_lists() -> None:
    one = planned(attacks=[{"attack": "worst-case", "losses": ["margin", "soft_dice"]}])
    assert configured(one, "losses") == {(("margin", "soft_dice"),)}
    two = planned(attacks=[{"attack": "worst-case", "losses": [["margin"], ["margin", "soft_dice"]], "classes": [[1], None]}])
    assert configured(two, "losses", "classes") == set(itertools.product([("margin",), ("margin", "soft_dice")], [(1,), None]))


def test_lists_of_an_attack_in_an_attack_span_too() -> None:
    method = {"attack": "physics-artefact", "severity": [1, 3], "kind": ["blur", "rician"]}
    found = planned(attacks=[{"attack": "worst-of-k", "draws": 2, "method": [method, "uniform-noise"]}])
    inner = [x.settings["method"] for x in found.cells]
    assert {(x["attack"], x.get("severity"), x.get("kind")) for x in inner} == {
        *(("physics-artefact", severity, kind) for severity in (1.0, 3.0) for kind in ("blur", "rician")),
        ("uniform-noise", None, None),
    }


def test_several_attacks_and_groups_by_one_entry() -> None:
    found = planned(attacks=[{"attack": ["fgsm", "ifgsm"], "epsilon": 0.01}, "black-box"])
    assert {x.attack for x in found.cells} == {"fgsm", "ifgsm", "square"}


_AXES = st.fixed_dictionaries(
    {"attack": st.just("pgd")},
    optional={
        "epsilon": st.lists(st.sampled_from([0, 0.01, 0.05, 0.1]), min_size=1, max_size=3),
        "steps": st.integers(1, 4) | st.lists(st.integers(1, 4), min_size=1, max_size=3),
        "channels": st.sampled_from(["each", "all", [["T1"], ["T2"]], ["T1", "T2"], [["T1"], "all"]]),
        "random_start": st.booleans(),
        "loss": st.lists(st.sampled_from(["soft_dice", "margin"]), min_size=1, max_size=2),
    },
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_AXES, min_size=1, max_size=3), st.integers(1, 3), st.randoms(use_true_random=False))
def test_keys_are_unique_and_independent_of_order(entries: list[dict[str, Any]], repeats: int, random: Any) -> None:
    cells = planned(attacks=entries, repeats=repeats).cells
    keys = {x.key for x in cells}
    assert len(keys) == len(cells)
    mixed = [dict(random.sample(list(x.items()), len(x))) for x in random.sample(entries, len(entries))]
    mixed = [{k: random.sample(v, len(v)) if k == "epsilon" else v for k, v in x.items()} for x in mixed]
    assert {x.key for x in planned(attacks=mixed, repeats=repeats).cells} == keys


@settings(max_examples=30, deadline=None)
@given(_AXES)
def test_each_cell_is_an_attack_that_can_be_made_again(entry: dict[str, Any]) -> None:
    for cell in planned(attacks=[entry], cohort="phantom:1@32").cells:
        settings = dict(cell.settings)
        assert make_attack(settings.pop("attack"), settings).describe() == cell.settings
        json.dumps(cell.settings, allow_nan=False)


def test_only_what_draws_at_random_is_repeated_and_each_repeat_has_its_seed() -> None:
    attacks = [
        "fgsm",
        "uniform-noise",
        {"attack": "pgd", "random_start": [True, False]},
        {"attack": "uniform-noise", "epsilon": 0},
    ]
    found = planned(attacks=attacks, repeats=3, seed=10, cohort="phantom:1@32")
    seeds = [
        (x.attack, x.settings.get("random_start"), x.settings["epsilon"], x.repeat, x.settings["seed"]) for x in found.cells
    ]
    assert sorted(seeds, key=str) == sorted(
        [
            ("fgsm", None, 0.05, 0, 0),
            *(("uniform-noise", None, 0.01, n, 10 + n) for n in range(3)),
            *(("pgd", True, 0.05, n, 10 + n) for n in range(3)),
            ("pgd", False, 0.05, 0, 0),
            ("uniform-noise", None, 0.0, 0, 0),
        ],
        key=str,
    )


def test_a_seed_of_its_own_counts_and_repeats_go_on_from_it() -> None:
    found = planned(attacks=[{"attack": "uniform-noise", "seed": 5, "repeats": 2}], seed=1, cohort="phantom:1@32")
    assert [x.settings["seed"] for x in found.cells] == [5, 6]


def test_defaults_that_are_written_out_make_the_same_cells() -> None:
    short = planned(attacks=[{"attack": "fgsm"}])
    long = planned(attacks=[{"attack": "FGSM", "epsilon": 5e-2, "channels": "all", "loss": "soft_dice", "seed": 0}])
    assert [x.key for x in short.cells] == [x.key for x in long.cells]


def test_trained_networks_come_before_what_needs_them() -> None:
    networks = {
        "student": {
            "train": {"cohort": "phantom:5-6@32", "recipe": {"recipe": "defensive-distillation", "teacher": "teacher"}}
        },
        "teacher": {"train": {"cohort": "phantom:5-6@32"}, "attacked": False},
        "plain": NETWORK,
        "mean": {"members": ["student", "plain"]},
    }
    found = planned(
        networks=networks,
        generators={"xi": {"network": "student", "cohort": "phantom:7@32"}},
        attacks=["fgsm", {"attack": "generative", "generator": "xi"}, {"attack": "transfer", "source": "student"}],
        audit={"cases": 1},
    )
    seen: set[str] = set()
    for cell in found.cells:
        assert set(cell.needs) <= seen
        seen.add(cell.key)
    keys = {(x.kind, x.attack or x.network): x.key for x in found.cells if x.kind in ("train", "generator")}
    teacher, student, generator = keys["train", "teacher"], keys["train", "student"], keys["generator", "xi"]
    of_student = next(x for x in found.cells if x.key == student)
    assert of_student.settings["recipe"]["teacher"] == {"product": teacher} and of_student.needs == (teacher,)
    attacks = {(x.network, x.attack): x for x in found.cells if x.kind == "attack"}
    assert "teacher" not in {network for network, _ in attacks}
    assert attacks["mean", "fgsm"].work["model"] == {"members": [{"product": student}, {"path": NETWORK}]}
    assert attacks["plain", "generative"].settings["generator"] == {"product": generator}
    assert set(attacks["mean", "generative"].needs) == {student, generator}
    assert attacks["plain", "transfer"].settings["source"] == {"product": student}
    surrogates = {x.network: x.work["surrogate"] for x in found.cells if x.kind == "audit"}
    assert surrogates["plain"] == {"product": student} and surrogates["student"] == {"path": NETWORK}


def test_networks_that_need_each_other_are_refused() -> None:
    def distilled(teacher: str) -> dict[str, Any]:
        return {"train": {"cohort": "phantom:5@32", "recipe": {"recipe": "defensive-distillation", "teacher": teacher}}}

    with pytest.raises(InputError, match="cannot each be made before the other"):
        planned(networks={"a": distilled("b"), "b": distilled("a")}, attacks=["fgsm"])


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"attacks": [{"attack": "fgsm", "epsilon": [0.1, -1]}]}, r"attacks\[0\].epsilon\[1\]: it must be 0 or more"),
        ({"attacks": [{"attack": "fgsm", "epsilon": [0.1, [0.2]]}]}, r"attacks\[0\].epsilon\[1\]"),
        ({"attacks": [{"attack": "fgsm", "epsilon": []}]}, r"attacks\[0\].epsilon: the list is empty"),
        ({"attacks": [{"attack": "fgsm", "epsilom": 1}]}, r"attacks\[0\].epsilom: .*the nearest name is epsilon"),
        ({"attacks": [{"attack": "fgsm", "channels": ["PET"]}]}, r"attacks\[0\].channels: the network takes no channel PET"),
        ({"attacks": [{"attack": "fgsm", "channels": []}]}, r"attacks\[0\].channels: choose one channel at least"),
        ({"attacks": [{"attack": "deformation", "channels": "each"}]}, r"attacks\[0\].channels: .*moves the anatomy"),
        ({"attacks": [{"attack": "transfer"}]}, r"attacks\[0\]: .*needs the setting source"),
        ({"attacks": [{"attack": ["fgsm", "pgd"], "name": "x"}]}, r"attacks\[0\].name: one name cannot stand for 2 attacks"),
        (
            {"attacks": [{"attack": "fgsm", "name": "x"}, {"attack": "pgd", "name": "x"}]},
            r"attacks\[1\].name: .*another attack",
        ),
        (
            {"attacks": [{"attack": "worst-of-k", "method": {"attack": "blur"}}]},
            r"attacks\[0\].method.attack: there is no attack",
        ),
        ({"attacks": [{"attack": "fgsm", "seed": list(range(400)), "epsilon": [x / 1000 for x in range(400)]}]}, "more than"),
        ({"networks": {"a": "nowhere.pt"}, "attacks": ["fgsm"]}, r"networks.a: .*nowhere.pt"),
        ({"networks": {"a": {"path": NETWORK, "changes": {"hed": 1}}}}, r"networks.a.changes: .*the nearest name is head"),
        ({"networks": {"a": {"train": {"cohort": "phantom:1@32", "settings": {"epoch": 1}}}}}, "the nearest name is epochs"),
        (
            {"networks": {"a": {"train": {"cohort": "phantom:1@32", "network": {"name": "UNett"}}}}},
            r'networks.a.train.network.name: .*no network "UNett"',
        ),
        (
            {"networks": {"a": {"train": {"cohort": "phantom:1@32", "recipe": "standart"}}}},
            r"networks.a.train.recipe: .*standard",
        ),
        ({"networks": {"a": {"members": ["b", "c"]}}}, r'networks.a.members\[0\]: the study has no network "b"'),
        (
            {"generators": {"g": {"network": "unet", "cohort": "phantom:1@32", "settings": {"x": 1}}}},
            "generators.g.settings.x",
        ),
        ({"cohort": "brats:nowhere"}, "cohort: There is no folder"),
        ({"cohort": {"cohort": "phantom:3@32", "cases": ["phantom-009"]}}, "cohort: .* has no case phantom-009"),
        ({}, "The study has nothing to do"),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(parts: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        planned(**parts)
    assert "\n" not in str(caught.value)


def _image(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))


def _cohort(folder: Path, labelled: bool = True) -> str:
    """Three patients with the phantom network's channels; the second one's T2 lies on another grid."""
    rows = [f"name,{','.join(CHANNELS)}{',label' if labelled else ''}"]
    for n in range(3):
        for channel in CHANNELS:
            size = 9 if (n, channel) == (1, "T2") else 8
            _image(folder / f"p{n}" / f"{channel}.nii.gz", np.full((8, 8, size), n + 1, np.float32))
        _image(folder / f"p{n}" / "label.nii.gz", np.ones((8, 8, 8), np.uint8))
        names = [f"p{n}/{x}.nii.gz" for x in (*CHANNELS, *(["label"] if labelled else []))]
        rows.append(",".join([f"p{n}", *names]))
    (folder / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return f"csv:{folder / 'cases.csv'}"


def test_wrong_cases_are_listed_and_left_out(tmp_path: Path) -> None:
    found = planned(cohort=_cohort(tmp_path), attacks=["fgsm"])
    assert {x.case for x in found.cells} == {"p0", "p2"}
    assert list(found.skipped) == ["p1"] and "another grid" in found.skipped["p1"]


def test_a_cohort_without_references_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"cohort: no case of .* \(3 in all\) has a reference, against which a study measures"
    ):
        planned(cohort=_cohort(tmp_path, labelled=False), attacks=["fgsm"])


def test_a_file_that_changes_makes_other_cells(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path)
    before = {x.case: x.key for x in planned(cohort=cohort, attacks=["fgsm"]).cells}
    assert {x.case: x.key for x in planned(cohort=cohort, attacks=["fgsm"]).cells} == before
    os.utime(tmp_path / "p0" / "label.nii.gz", ns=(1, 1))
    after = {x.case: x.key for x in planned(cohort=cohort, attacks=["fgsm"]).cells}
    assert after["p0"] != before["p0"] and after["p2"] == before["p2"]


def test_cases_that_a_network_learns_from_are_told() -> None:
    found = planned(networks={"own": {"train": {"cohort": "phantom:1-3@32"}}}, cohort="phantom:0-2@32", attacks=["fgsm"])
    assert found.notes == (
        "own learns from 2 of the 3 cases that it is attacked on: what is measured on these says little about others.",
    )
    trained = {"train": {"cohort": "phantom:1-3@32", "validation": "phantom:3-6@32"}}
    assert planned(networks={"own": trained}, cohort="phantom:9@32", attacks=["fgsm"]).notes[1:] == (
        "own learns from 1 of the 4 cases by whose Dice its best epoch is chosen: that says little about others.",
    )


def test_audits_transfer_from_a_network_that_shares_a_channel() -> None:
    def of(*channels: str) -> dict[str, Any]:
        return {"train": {"cohort": "phantom:1-2@32", "described": {"channels": list(channels)}}}

    found = planned(networks={"a": of("T1"), "b": of("FLAIR"), "c": of("t1", "T2")}, audit=True)
    keys = {x.key: x.network for x in found.cells if x.kind == "train"}
    others = {x.network: x.work["surrogate"] for x in found.cells if x.kind == "audit"}
    assert {name: None if x is None else keys[x["product"]] for name, x in others.items()} == {"a": "c", "b": None, "c": "a"}


def test_a_part_of_a_cohort_by_patient() -> None:
    both = [
        {x.case for x in planned(cohort={"cohort": "phantom:10@32", "part": part, "validation": 0.3}, attacks=["fgsm"]).cells}
        for part in ("training", "validation")
    ]
    assert [len(x) for x in both] == [7, 3] and not both[0] & both[1]
    first = planned(cohort={"cohort": "phantom:10@32", "part": "training", "validation": 0.3, "cases": 2}, attacks=["fgsm"])
    assert len({x.case for x in first.cells} & both[0]) == len(first.cells) == 2


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1, allow_nan=False))
def test_a_budget_is_kept_exactly(epsilon: float) -> None:
    (cell,) = planned(attacks=[{"attack": "fgsm", "epsilon": epsilon}], cohort="phantom:1@32").cells
    assert cell.settings["epsilon"] == epsilon and math.isfinite(epsilon)


@pytest.mark.parametrize(
    "attack",
    [
        {"attack": "transfer", "source": "nobody", "epsilon": 0.1},
        {"attack": "generative", "generator": ["nobody.safetensors"]},
    ],
)
def test_a_file_that_an_attack_needs_and_that_is_not_there_is_said_before_the_run(attack: dict[str, Any]) -> None:
    with pytest.raises(InputError, match='there is no file "nobody'):
        planned(attacks=[attack])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"region": "tumor"}, 'the region "tumor" is no image file'),
        ({"epsilon": [True]}, "epsilon must be a number, not true"),
    ],
)
def test_a_setting_that_no_job_could_use_is_said_before_the_run(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        planned(attacks=[{"attack": "fgsm", "epsilon": 0.1, **setting}])


def test_fewer_cases_than_were_asked_for_are_told() -> None:
    attacks = [{"attack": "fgsm", "epsilon": 0.1}]
    few = planned(cohort={"cohort": "phantom:0-1@32", "cases": 50}, attacks=attacks)
    assert few.notes == ("50 cases of phantom:0-1@32 were asked for; 2 can be used.",)
    assert planned(cohort={"cohort": "phantom:0-1@32", "cases": 2}, attacks=attacks).notes == ()


def test_a_region_that_no_network_can_have_is_said_before_the_run(tmp_path: Path) -> None:
    """Of label values that no class stands for, or a part of what a class stands for, or called like a class."""
    attacks = [{"attack": "fgsm", "epsilon": 0.1}]
    for regions, said in (({"t": [99]}, r"regions.t: .*knows .*it has \[99\]"), ({"WT": [1], "ET": []}, "no label value")):
        with pytest.raises(InputError, match=said):
            planned(attacks=attacks, regions=regions)
    assert planned(attacks=attacks, regions={"t": [1, 2]}).notes == ()
    own = {"own": {"train": {"cohort": "phantom:1-3@32"}}}
    with pytest.raises(InputError, match=r"regions.t: .*it has \[99\]"):
        planned(attacks=attacks, networks=own, regions={"t": [99]})
    described = {"train": {"cohort": "phantom:1-3@32", "described": {"classes": {"0": "nothing", "99": "something"}}}}
    both = {"unet": NETWORK, "own": described}
    found = planned(attacks=attacks, networks=both, cohort="phantom:7-8@32", regions={"t": [99]})
    assert len(found.notes) == 1 and found.notes[0].startswith("The attacks on unet will come to nothing: The region t")


def test_moved_cases_are_the_same_under_a_link(tmp_path: Path) -> None:
    """Keys hold paths: who moves the images leaves a link where they were, and the study goes on."""
    (tmp_path / "old").mkdir()
    image = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6), np.float32))
    for name in ("T1", "T1ce", "T2", "FLAIR", "label"):
        SimpleITK.WriteImage(SimpleITK.Cast(image, SimpleITK.sitkInt16), str(tmp_path / "old" / f"{name}.nii.gz"))
    (tmp_path / "old" / "cases.csv").write_text(
        "name,T1,T1ce,T2,FLAIR,label\np0,T1.nii.gz,T1ce.nii.gz,T2.nii.gz,FLAIR.nii.gz,label.nii.gz\n"
    )

    def keys(place: str) -> list[str]:
        return [x.key for x in planned(cohort=str(tmp_path / place / "cases.csv"), attacks=["fgsm"]).cells]

    before = keys("old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert keys("new") != before
    (tmp_path / "old").symlink_to(tmp_path / "new", target_is_directory=True)
    assert keys("old") == before
