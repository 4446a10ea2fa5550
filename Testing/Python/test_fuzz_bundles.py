"""Bundles' configurations and studies with anything in them: settings or a sentence, soon, and nothing is written or run."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from fault_helpers import listing
from fuzz_helpers import assert_short, edited, fuzzed, no_hang
from hypothesis import given
from hypothesis import strategies as st

from SegAdversarialLib import InputError
from SegAdversarialLib.formats import bundle
from SegAdversarialLib.formats.bundle_config import parsed
from SegAdversarialLib.formats.settings import ModelSettings
from SegAdversarialLib.studies.plan import plan
from SegAdversarialLib.studies.study import Study

CONFIG: dict[str, Any] = {
    "imports": ["$import glob"],
    "bundle_root": ".",
    "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
    "spacing": [1.5, 1.5, 2.0],
    "size": "$[@count * 8, 16, 16]",
    "count": 2,
    "network_def": {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": "@count",
        "channels": [4, 8],
        "strides": [2],
    },
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": "@spacing", "mode": "bilinear"},
            {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@size", "overlap": "$1 / @count"},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        ],
    },
    "evaluator": {"_target_": "SupervisedEvaluator", "inferer": "@inferer", "postprocessing": "@postprocessing"},
    "checkpoint": {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'"},
}
METADATA: dict[str, Any] = {
    "task": "spleen",
    "network_data_format": {
        "inputs": {"image": {"num_channels": 1, "channel_def": {"0": "image"}, "spatial_shape": ["8*n", "8*n", "8*n"]}},
        "outputs": {"pred": {"num_channels": 2, "channel_def": {"0": "background", "1": "spleen"}}},
    },
}
STUDY: dict[str, Any] = {
    "study": "one",
    "cohort": {"cohort": "phantom:0-1@32", "cases": 2},
    "networks": {
        "unet": "builtin:brain-tumour-phantom",
        "own": {"train": {"cohort": "phantom:2-3@32", "network": {"name": "UNet"}, "settings": {"epochs": 1}}},
        "both": {"members": ["unet", "own"]},
    },
    "generators": {"made": {"network": "unet", "cohort": "phantom:2-3@32"}},
    "attacks": [
        {"attack": "fgsm", "epsilon": [0.01, 0.05], "channels": "each", "networks": ["unet"]},
        {"attack": ["pgd", "uniform-noise"], "steps": [1, 2], "repeats": 2},
        {"attack": "generative", "generator": "made"},
    ],
    "regions": {"tumour": [1, 2]},
    "audit": {"cases": 1, "effort": "quick"},
}

NAMES = st.sampled_from([*CONFIG, "asked", "missing", "", "network_def::channels", "size::0", "preprocessing::transforms::2"])
REFERENCES = st.builds(
    lambda sign, name, mark: sign + name.replace("::", mark), st.sampled_from("@%"), NAMES, st.sampled_from(["::", "#"])
)
ATOMS = REFERENCES.map(lambda x: x.replace("%", "@")) | st.sampled_from(
    ["1", "-1", "1e308", "9" * 30, "9" * 5000, "0", "None", "True", "''", "'a'", "[]", "()", "{}", "torch.float32", "@", "$"]
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.builds(
        lambda one, how, other: how.format(one, other),
        inner,
        st.sampled_from(
            ["{} + {}", "{} * {}", "{} ** {}", "{} / {}", "{} // {}", "{} % {}", "{} if {} else 1", "[{}, {}]", "({})[{}]"]
            + [
                "max({}, {})",
                "list(range({}, {}))",
                "len({}) < {}",
                "os.path.join({}, {})",
                "f'{{{}}}{{{}}}'",
                "not {} and {}",
            ]
            + ["{}.to({})", "str({}) * {}", "{} in {}", "({}, {})[0:1]", "round({}, {})", "int({}) or {}"]
        ),
        inner,
    ),
    max_leaves=8,
)
VALUES = st.one_of(
    REFERENCES,
    EXPRESSIONS.map("${}".format),
    st.sampled_from(
        [None, True, -1, 0, 1e308, float("inf"), float("nan"), 10**30, "", "..", "../../x", "/", "\0", "a\nb", "\ud800"]
    ),
    st.sampled_from([[], {}, [[]], {"a": 1}, ["a"] * 50, "1" * 5000, [None], {"_target_": None}, {"_target_": "@count"}]),
    st.builds(lambda name, way: {"_target_": name, way: 1}, st.sampled_from(["Compose", "UNet", "os.getcwd", ""]), NAMES),
    st.builds("DEEP{}{}".format, st.sampled_from("[{"), st.sampled_from([50, 400, 3000])),
    NAMES.flatmap(lambda name: st.lists(st.just(f"%{name}"), min_size=2, max_size=9)),
)
EDITS = st.lists(
    st.tuples(st.floats(0, 0.999), st.sampled_from(["set", "set", "drop", "add", "name"]), VALUES), min_size=1, max_size=4
)


def written(data: Any) -> str:
    """As JSON, with brackets in brackets where so many are asked for."""

    def nested(found: re.Match[str]) -> str:
        depth = int(found[2])
        return "[" * depth + "]" * depth if found[1] == "[" else '{"a": ' * depth + "1" + "}" * depth

    return re.sub(r'"DEEP([\[{])(\d+)"', nested, json.dumps(data))


@fuzzed(150)
@given(EDITS, st.none() | EDITS)
def test_configurations_of_bundles(edits: Any, more: Any) -> None:
    """What is described are settings that can be used; nobody reads or writes beside the bundle."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "net"
        for part in ("configs", "models"):
            (folder / part).mkdir(parents=True)
        torch.save({"x": torch.zeros(1)}, folder / "models" / "model.pt")
        (folder / "configs" / "inference.json").write_text(written(edited(CONFIG, edits)))
        (folder / "configs" / "metadata.json").write_text(written(edited(METADATA, more or [])))
        before = listing(Path(place))
        try:
            with no_hang(20):
                found = bundle.describe(folder)
                if found is not None:
                    assert all(folder in (x, *x.parents) for x in found.files)
                    ModelSettings.model_validate(found.settings)
        except InputError as error:
            assert_short(error)
        except ValueError as error:
            assert type(error).__name__ == "ValidationError", error  # which opening a network tells in a sentence
        assert listing(Path(place)) == before


@fuzzed(100)
@given(st.deferred(lambda: ANCHORS), st.sampled_from(["network_def", "spacing", "inferer", "preprocessing", "<<"]))
def test_configurations_that_refer_to_themselves(value: str, key: str) -> None:
    """YAML's anchors, merges and tags in a bundle's configuration."""
    try:
        with no_hang(20):
            if (config := parsed(f"asked: '@{key}'\n{key}: {value}\n", "inference.yaml")) is not None:
                assert isinstance(config.programs(), str)
                for name in config:
                    config.get(name)
    except InputError as error:
        assert_short(error)


def test_merges_that_double_each_time() -> None:
    """Thirty lines that are a thousand million entries together."""
    lines = ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 30))]
    with no_hang(20), pytest.raises(InputError, match="merged by <<"):
        parsed("\n".join(lines), "inference.yaml")


def test_what_holds_itself_is_looked_at_once() -> None:
    lines = [
        "a: &a [*a, $open('x')]",
        "b0: &b0 [x]",
        *(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 10)}]" for n in range(1, 12)),
    ]
    with no_hang(20):
        config = parsed("\n".join(lines), "inference.yaml")
        assert config is not None and config.programs().startswith("1 expression ($...)")


@fuzzed(60)
@given(EDITS)
def test_plans_of_studies(edits: Any) -> None:
    """Whatever is in a study's places: cells whose keys can be made, or a sentence with file and line."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "one.yaml"
        path.write_text(written(edited(STUDY, edits)))  # JSON is YAML
        try:
            with no_hang(60):
                assert all(len(cell.key) == 32 for cell in plan(Study.read(path)).cells)
        except InputError as error:
            assert_short(error)
            assert "one.yaml" in str(error)
        assert [x.name for x in Path(place).iterdir()] == ["one.yaml"]


ANCHORS = st.recursive(
    st.sampled_from(["*a", "*b", "1", "x", "~", "!!python/object:os.path x", "!x 1", "1e400", "0x" + "f" * 400, "? y"]),
    lambda inner: (
        st.builds(lambda name, x, y: f"&{name} [{x}, {y}]", st.sampled_from("ab"), inner, inner)
        | st.builds(lambda x, y: f"{{k: {x}, <<: {y}}}", inner, inner)
    ),
    max_leaves=12,
)


@fuzzed(150)
@given(ANCHORS, st.sampled_from(["regions", "attacks", "networks", "cohort", "audit", "<<", "study"]))
def test_studies_that_refer_to_themselves(value: str, key: str) -> None:
    """YAML's anchors, merges and tags: no bomb, no circle, no object."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "one.yaml"
        path.write_text(f"study: one\ncohort: phantom:0-1@32\nnetworks: {{n: builtin:x}}\n{key}: {value}\n")
        try:
            with no_hang(20):
                Study.read(path)
        except InputError as error:
            assert_short(error)
        assert [x.name for x in Path(place).iterdir()] == ["one.yaml"]
