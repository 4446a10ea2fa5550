"""A study file that is wrong is one sentence with the line and the key; what stands in a right one is what is meant."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies.reading import read_yaml, yaml_text
from SegAdversarialLib.studies.study import Study

RIGHT = """study: one
cohort: phantom:0-1@32
networks:
  unet: builtin:brain-tumour-phantom
attacks:
  - attack: fgsm
    epsilon: 0.05
"""


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "one.yaml"
    path.write_bytes(text.encode(encoding))
    return path


def wrong(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as caught:
        Study.read(written(folder, text))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_right_file_is_read(tmp_path: Path) -> None:
    study = Study.read(written(tmp_path, RIGHT))
    assert study.study == "one" and study.cohort.cohort == "phantom:0-1@32" and study.keep == "tables"
    assert [x.attacks for x in study.attacks] == [("fgsm",)] and study.attacks[0].settings == {"epsilon": 0.05}


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (("cohort:", "chort:"), 2, "there is no setting chort; the nearest name is cohort."),
        (("study: one", "study: one\nrepeats: 0"), 2, "repeats"),
        (("study: one", "study: one\nrepeats: often"), 2, "repeats"),
        (("study: one", "study: one\nkeep: everything"), 2, "keep"),
        (("attack: fgsm", "attack: fgms"), 6, "the nearest name is fgsm"),
        (("attack: fgsm", "attak: fgsm"), 6, "the name of the attack is missing"),
        (("    epsilon: 0.05", "    networks: [u-net]"), 7, 'no network "u-net"; the nearest name is unet'),
        (("cohort: phantom:0-1@32", "cohort: {cohort: phantom:2, cases: 0}"), 2, "one case at least"),
        (("cohort: phantom:0-1@32", "cohort: {cohort: phantom:2,\n  case: 1}"), 3, "the nearest name is cases"),
        (("  unet: builtin:", "  unet:\n    pth: builtin:"), 5, "the nearest name is path"),
        (("  unet: builtin:", "  '': builtin:"), 4, "the name is empty"),
        (("  unet: builtin:", "  UNet : x\n  unet: builtin:"), 5, "but for capitals or spaces"),
        (("study: one", "study: one\naudit: {efort: quick}"), 2, "the nearest name is effort"),
        (("study: one", "study: one\naudit: {cases: 0}"), 2, "audit.cases"),
        (("study: one", "study: one\nregions: {tumour: []}"), 2, "no label value"),
        (("study: one", "study: one\nregions: {tumour: [core]}"), 2, "regions.tumour"),
        (("study: one", "study: ''"), 1, "study"),
        (("study: one", "study: one\npaper: liu2012"), 2, "the nearest name is liu2021"),
        (("study: one", 'study: "one\\nline"'), 1, "a line break or a control character (U+000A)"),
        (("  unet: builtin:", '  "u\\aet": builtin:'), 4, "a line break or a control character (U+0007)"),
        (("    epsilon: 0.05", '    name: "F\\u2028M"'), 7, "a line break or a control character (U+2028)"),
        (("attacks:\n", "attacks:\n  - 7\n"), 6, "an attack is given with its name"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_key(tmp_path: Path, change: tuple[str, str], line: int, says: str) -> None:
    text = RIGHT.replace(*change)
    assert text != RIGHT
    sentence = wrong(tmp_path, text)
    assert f"one.yaml, line {line} (" in sentence, sentence
    assert says in sentence, sentence


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("---\n", "is empty"),
        ("- a\n- b\n", "line 1: the file must be made of keys and values"),
        ("fgsm\n", "line 1: the file must be made of keys and values"),
        ("study: one\n\tcohort: x\n", "line 2: a tab"),
        ("study: one\nnetworks:\n\tunet: x\n", "line 3: a tab"),
        ("study: one\nstudy: two\n", "line 2: study is given twice, first in line 1"),
        ("study: one\nnetworks: {a: x, a: y}\n", "line 2: a is given twice"),
        ("study: one\nseed: [1, 2\n", "line 2: this is no YAML"),
        ("study: a: b\n", "line 1: this is no YAML: a colon"),
        ("study: one\nseed: !!python/object/apply:os.system [ls]\n", "line 2: the tag"),
        ("study: one\nseed: !!binary aGk=\n", "line 2: the tag !!binary"),
        ("study: &a [*a]\n", "line 1: an anchor holds itself"),
        ("study: *nobody\n", "line 1: this is no YAML"),
        ("study: one\n---\nstudy: two\n", "line 3: a second document begins"),
        ("? [a, b]\n: c\n", "line 1: a key must be a word"),
        ("study: one\x07\n", "line 1: a character stands here that no YAML file may hold"),
        ('study: one\ndescription: "a\\ud800b"\n', "line 2: U+D800 is half a character"),
        ('study: one\n"a\\udfff": b\n', "line 2: U+DFFF is half a character"),
        ("<<: 7\n", "line 1: << takes a mapping"),
    ],
)
def test_a_file_that_is_no_study_is_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    assert says in wrong(tmp_path, text)


def test_a_file_that_is_no_text_or_not_there_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_bytes(b"study: one\nname: \xff\xfe\n")
    with pytest.raises(InputError, match="line 2: this is no text in UTF-8"):
        Study.read(path)
    with pytest.raises(InputError, match="There is no study file"):
        Study.read(tmp_path / "other.yaml")
    with pytest.raises(InputError, match="is a folder"):
        Study.read(tmp_path)


def test_anchors_that_multiply_do_not_fill_the_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 200000 values" in wrong(tmp_path, "\n".join(lines))


def test_deep_nesting_is_one_sentence(tmp_path: Path) -> None:
    assert "nests too deep" in wrong(tmp_path, "a: " + "[" * 1500 + "]" * 1500)


def test_anchors_and_merges_are_followed(tmp_path: Path) -> None:
    text = RIGHT.replace(
        "  - attack: fgsm\n    epsilon: 0.05\n", "  - &a {attack: fgsm, epsilon: 1}\n  - {<<: *a, epsilon: 0.5}\n"
    )
    study = Study.read(written(tmp_path, text))
    assert [x.settings for x in study.attacks] == [{"epsilon": 1}, {"epsilon": 0.5}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_of_editors_are_read(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, RIGHT.replace("one", "études").replace("\n", "\r\n"), encoding)
    assert Study.read(path).study == "études"


def test_numbers_and_words_are_what_they_look_like(tmp_path: Path) -> None:
    text = "a: 1e-3\nb: no\nc: 010\nd: 12:30\ne: 2020-01-02\nf: .inf\ng: ~\nh: true\n"
    text += "i: '1'\nj: 0x10\nk: 1_000\n4: x\non: y\nl: -.5\n"
    data = read_yaml(written(tmp_path, text)).data
    assert data == {
        **{"a": 0.001, "b": "no", "c": 10, "d": "12:30", "e": "2020-01-02", "f": math.inf, "g": None, "h": True},
        **{"i": "1", "j": 16, "k": "1_000", "4": "x", "on": "y", "l": -0.5},
    }


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


_PLACES = st.text(min_size=1, max_size=5) | st.sampled_from(["no", "1e3", "<<", "~", "010"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_PLACES, _VALUES | st.sampled_from(["1e-3", "null", ".inf", "0x1", "true"]), min_size=1, max_size=4))
def test_what_is_written_is_read_back(tmp_path: Path, data: dict[str, object]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml_text(data), encoding="utf-8")
    assert read_yaml(path).data == data


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text(st.characters(codec="ascii"), min_size=1, max_size=5), st.integers() | st.booleans(), min_size=1)
)
def test_other_programs_read_the_same(tmp_path: Path, data: dict[str, object]) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert read_yaml(path).data == data


def test_a_study_written_and_read_again_is_the_same(tmp_path: Path) -> None:
    text = RIGHT + "  - {attack: [pgd, fgsm], channels: [each, all], epsilon: [0, .1], repeats: 2, networks: unet}\n"
    text += "audit: {cases: 2, effort: quick}\nregions: {tumour: [1, 4]}\n"
    study = Study.read(written(tmp_path, text))
    again = tmp_path / "other" / "again.yaml"
    again.parent.mkdir()
    again.write_text(yaml.safe_dump(study.dump()), encoding="utf-8")
    assert Study.read(again).dump() == study.dump()


def test_relative_paths_are_meant_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "m.nii.gz").write_bytes(b"")
    text = RIGHT.replace("phantom:0-1@32", "csv:cases.csv").replace("builtin:brain-tumour-phantom", "net.pt")
    text = text.replace("epsilon: 0.05", "region: masks/m.nii.gz")
    study = Study.read(written(tmp_path, text))
    assert study.cohort.cohort == f"csv:{tmp_path / 'cases.csv'}"
    assert study.networks["unet"].path == str(tmp_path / "net.pt")
    assert study.attacks[0].settings["region"] == str(tmp_path / "masks" / "m.nii.gz")
