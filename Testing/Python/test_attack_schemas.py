"""What the attacks' JSON schemas say, from which panels and lists are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from SegAdversarialLib import InputError, attacks
from SegAdversarialLib.attacks import ATTACKS, make_attack
from SegAdversarialLib.attacks.settings import Choice

FIELDS = [
    pytest.param(cls, name, field, id=f"{cls.name}-{name}")
    for cls in ATTACKS.values()
    for name, field in cls.model_json_schema()["properties"].items()
]
VISIBLE = {
    "channels", "region", "epsilon", "epsilon_units", "steps", "norm", "against", "target", "radius", "snapshot_every",
    "queries", "answers", "perturbation", "source", "method", "gradient_budget",
    "generator", "xi", "parts", "samples",
    "q_max", "block_mm", "least_ssim",
    "max_bias", "spacing_mm", "per_channel", "max_displacement", "max_rotation", "max_translation", "max_scale", "order",
    "kind", "severity", "draws", "drop", "each_structure",
}  # fmt: skip


def alternatives(field: dict[str, Any]) -> list[dict[str, Any]]:
    return list(field.get("anyOf", [field]))


@pytest.mark.parametrize(("cls", "name", "field"), FIELDS)
def test_every_field_says_what_a_panel_needs(cls: type, name: str, field: dict[str, Any]) -> None:
    assert field["description"].endswith(".") and len(field["description"]) > 10
    assert "default" in field
    assert field.get("choose", "") in ("", *get_args(Choice))
    assert isinstance(field.get("advanced", False), bool)
    assert len(field.get("label", name)) <= 16
    for kind in alternatives(field):
        if kind.get("type") in ("number", "integer"):
            assert {"minimum", "exclusiveMinimum"} & set(kind)
        if "enum" in kind and field.get("texts"):
            assert set(field["texts"]) == set(kind["enum"])
    if {x.get("type") for x in alternatives(field)} == {"array", "null"} or not {"type", "anyOf"} & set(field):
        assert field["choose"], "a list, or a value of any type, is nothing that people should type"


@pytest.mark.parametrize(("cls", "name", "field"), FIELDS)
def test_overridden_fields_keep_their_hints(cls: type, name: str, field: dict[str, Any]) -> None:
    hints = ("unit", "choose", "advanced", "label", "texts")
    for parent in cls.__mro__[1:]:
        inherited = getattr(parent, "model_fields", {}).get(name)
        if inherited is not None:
            extra = inherited.json_schema_extra or {}
            assert {x: field.get(x) for x in hints} == {x: extra.get(x) for x in hints}
    assert field.get("advanced", False) is not (name in VISIBLE)


def test_lengths_have_units() -> None:
    for cls in ATTACKS.values():
        for name, field in cls.model_json_schema()["properties"].items():
            if name in ("epsilon", "radius", "step_size", "steps", "snapshot_every"):
                assert field["unit"]


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (None, "FGSM, epsilon 0.05, all channels"),
        ("foreground", "FGSM, epsilon 0.05, all channels, in foreground"),
        ("reference", "FGSM, epsilon 0.05, all channels, in reference"),
        ("/some/where/oedema.nrrd", "FGSM, epsilon 0.05, all channels, in oedema"),
        (Path("masks/left lung.v2.nii.gz"), "FGSM, epsilon 0.05, all channels, in left lung.v2"),
        ("tumour.seg.nrrd", "FGSM, epsilon 0.05, all channels, in tumour"),
        ("plain", "FGSM, epsilon 0.05, all channels, in plain"),
        (np.ones((2, 2, 2)), "FGSM, epsilon 0.05, all channels, in a region"),
    ],
)
def test_summary_names_the_region(region: Any, words: str) -> None:
    assert attacks.FGSM(region=region).summary() == words


def test_what_needs_a_reference() -> None:
    assert make_attack("pgd").needs_reference
    assert not make_attack("pgd", {"against": "prediction"}).needs_reference
    assert not make_attack("tifgsm").needs_reference
    assert not make_attack("uniform-noise").needs_reference


@pytest.mark.parametrize(("field", "noun"), [("channels", "channel"), ("classes", "structure")])
def test_none_of_them_is_not_all_of_them(field: str, noun: str) -> None:
    with pytest.raises(InputError, match=f"{field}: choose at least one {noun}, or all of them"):
        make_attack("fgsm", {field: []})
