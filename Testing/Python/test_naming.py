"""When two names of a structure say the same, and what terminology entries say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from SegAdversarialLib.structures.naming import name_of
from SegAdversarialLib.structures.terminology import entry_in, entry_of, meaning_of

SAME = [
    ("left kidney", "kidney_left"),
    ("Kidney (L)", "kidneyLeft"),
    ("Rt. Kidney", "right-kidney"),
    ("kidneys", "Kidney"),
    ("the patient's liver", "patient liver"),
    ("Oedema", "edema"),
    ("Tumours", "tumor"),
    ("grey matter", "GM"),
    ("oesophagus", "Esophagus"),
    ("gall bladder", "gallbladder"),
    ("vertebrae L1", "vertebra_L1"),
    ("head of the pancreas", "pancreas head"),
    ("clavicula left", "left clavicle"),
    ("Enhancing tumour", "ET"),
    ("GD-enhancing tumor", "enhancing"),
    ("NCR/NET", "necrotic core"),
    ("whole tumour (WT)", "WT"),
    ("peritumoral edema", "ED"),
    ("SNFH", "oedema"),
    ("nonenhancing tumour core", "NETC"),
    ("Leber", "LEBER"),
    ("肝", "肝"),
]
DIFFERENT = [
    ("left kidney", "right kidney"),
    ("kidney", "kidney_left"),
    ("left and right kidney", "left kidney"),
    ("kidney left cyst", "kidney left"),
    ("enhancing tumour", "non-enhancing tumour"),
    ("tumour core", "tumour"),
    ("whole tumour", "tumour"),
    ("rib 4 left", "rib 5 left"),
    ("vertebra L1", "vertebra T1"),
    ("Segment_1", "Segment_2"),
    ("肝", "肾"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_names_that_say_the_same(one: str, other: str) -> None:
    assert name_of(one).means(name_of(other)) and name_of(other).means(name_of(one))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_names_that_do_not(one: str, other: str) -> None:
    assert not name_of(one).means(name_of(other)) and not name_of(other).means(name_of(one))


@pytest.mark.parametrize("text", ["", "1", "Segment_1", "Segment 2", "Label-3", "label_value_7", "Segment_1 copy", "Mask3"])
def test_numbered_segments_say_nothing(text: str) -> None:
    assert name_of(text).says_nothing


@pytest.mark.parametrize("text", ["left", "L", "core", "ET", "background", "Segment of liver", "肝"])
def test_anything_else_says_something(text: str) -> None:
    assert not name_of(text).says_nothing


WORDS = st.lists(st.sampled_from(["kidney", "lobe", "upper", "artery", "tumour", "core", "4", "zone"]), min_size=1, max_size=4)


@given(WORDS, st.sampled_from(["left", "right"]), st.randoms(use_true_random=False), st.sampled_from(" _-./"))
def test_order_capitals_and_signs_do_not_matter_but_sides_do(words: list[str], side: str, random, sign: str) -> None:
    shuffled = [random.choice([str.upper, str.title, str.lower])(x) for x in random.sample([*words, side], len(words) + 1)]
    one, other = name_of(" ".join([side, *words])), name_of(sign.join(shuffled))
    assert one.means(other)
    opposite = name_of(" ".join(["right" if side == "left" else "left", *words]))
    assert one.contradicts(opposite) and not opposite.means(other) and not name_of(" ".join(words)).means(one)


def test_a_part_says_all_of_the_whole_and_more() -> None:
    assert name_of("left kidney").is_part_of(name_of("kidneys"))
    assert name_of("liver tumour").is_part_of(name_of("Liver"))
    assert not name_of("kidney").is_part_of(name_of("left kidney"))
    assert not name_of("spleen").is_part_of(name_of("kidneys"))


def test_terminology_is_read_by_code_and_else_by_meaning() -> None:
    entry = "list~SCT^123037004^Anatomical Structure~SCT^64033007^Niere~SCT^7771000^Links~regions~^^~^^"
    assert name_of(meaning_of(entry)).means(name_of("kidney_left"))
    in_region = "list~SCT^49755003^Altered~SCT^4147007^Mass~^^~regions~SCT^23451007^Adrenal gland~SCT^24028007^Right"
    assert name_of(meaning_of(in_region)).means(name_of("mass right adrenal gland"))
    other_scheme = "list~SRT^T-D0050^Tissue~SRT^T-71000^Kidney~SRT^G-A100^Right~~^^~^^"
    assert name_of(meaning_of(other_scheme)).means(name_of("kidney right"))
    for vague in ("", entry_of("something"), "nonsense", "~~~~~~~~~"):
        assert name_of(meaning_of(vague)).says_nothing
    tags = f"Segmentation.Status:inprogress|TerminologyEntry:{entry}|x:y|"
    assert entry_in(tags) == entry and entry_in("a:b|") == ""


@pytest.mark.parametrize("name", ["kidney_left", "right lung", "Liver", "oedema"])
def test_what_is_written_is_read_again(name: str) -> None:
    assert name_of(meaning_of(entry_of(name))).means(name_of(name))
