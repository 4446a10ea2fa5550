"""Which class of a network each segment is, and the label map that follows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.structures.brats import tumour_regions
from SegAdversarialLib.structures.matching import match, relabelled, understood
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.structures.segments import Overlay, Segment, renamed
from SegAdversarialLib.structures.terminology import entry_of
from SegAdversarialLib.volumes.case import Case

KIDNEYS = OutputHead.of({0: "background", 1: "kidney_right", 2: "kidney_left", 5: "liver"})
PARTS = OutputHead.of({0: "background", 1: "NCR", 2: "ED", 4: "ET"})
REGIONS = OutputHead.of({2: "whole tumour", 1: "tumour core", 4: "enhancing tumour"}, "sigmoid", {2: (1, 2, 4), 1: (1, 4)})


def drawn(*names: str | tuple[str, int], terminology: str = "") -> list[Segment]:
    """Segments of one voxel each, numbered in their order unless said."""
    pairs = [(x, n) if isinstance(x, str) else x for n, x in enumerate(names, 1)]
    return [Segment(name, (n,), number, terminology) for n, (name, number) in enumerate(pairs, 1)]


def painted(masks: dict[str, np.ndarray], numbers: dict[str, int] | None = None) -> tuple[np.ndarray, tuple[Segment, ...]]:
    overlay = Overlay(next(iter(masks.values())).shape)
    for name, mask in masks.items():
        overlay.add(Segment(name, (), (numbers or {}).get(name, 1)), mask)
    return overlay.finished()


def decided(segments: list[Segment], head: OutputHead) -> list[str]:
    found = match(segments, head)
    assert not found.undecided, found.undecided
    return [found.structures[n].name if n in found.structures else str(found.labels[n]) for n in range(len(segments))]


def doubts(segments: list[Segment], head: OutputHead) -> dict[str, str]:
    return {segments[n].name: why for n, why in match(segments, head).undecided.items()}


def test_names_count_whatever_the_numbers_are() -> None:
    assert decided(drawn("left kidney", "right kidney"), KIDNEYS) == ["kidney_left", "kidney_right"]
    assert decided(drawn(("Liver", 1), ("kidney (R)", 2)), KIDNEYS) == ["liver", "kidney_right"]
    assert decided(drawn("Background", "liver"), KIDNEYS) == ["background", "liver"]


def test_terminology_counts_where_the_name_does_not_say_more() -> None:
    left = entry_of("left kidney")
    assert decided(drawn("Segment_1", terminology=left), KIDNEYS) == ["kidney_left"]
    assert decided(drawn("Left", terminology=left), KIDNEYS) == ["kidney_left"]
    assert "no class is called so" in doubts(drawn("left kidney cyst", terminology=left), KIDNEYS)["left kidney cyst"]
    assert "terminology says left Kidney" in doubts(drawn("right kidney", terminology=left), KIDNEYS)["right kidney"]
    assert "terminology says Spleen" in doubts(drawn("Segment_1", terminology=entry_of("spleen")), KIDNEYS)["Segment_1"]


def test_numbers_count_where_no_name_speaks_against() -> None:
    assert decided(drawn("Segment_1", "2", ("", 5)), KIDNEYS) == ["1", "2", "5"]
    assert decided(drawn(("kidney right", 1), "Segment_2"), KIDNEYS) == ["kidney_right", "2"]
    assert "numbers say nothing" in doubts(drawn(("left kidney", 5), ("Segment_2", 1)), KIDNEYS)["Segment_2"]
    assert "has its number, too" in doubts(drawn(("left kidney", 2), ("Segment_2", 2)), KIDNEYS)["Segment_2"]
    assert "is the class of its number" in doubts(drawn(("left kidney", 1), ("Segment_2", 2)), KIDNEYS)["Segment_2"]
    assert set(doubts(drawn(("Segment_1", 1), ("Segment_2", 1)), KIDNEYS)) == {"Segment_1", "Segment_2"}
    assert "no class has its number" in doubts(drawn(("Segment_9", 9)), KIDNEYS)["Segment_9"]
    assert decided(drawn(("Segment_2", 1), ("label 2", 2)), KIDNEYS) == ["1", "2"]
    assert "called 2, and its number is 1" in doubts(drawn(("2", 1), ("Label_1", 2)), KIDNEYS)["2"]


@pytest.mark.parametrize("name", ["spleen", "kidney", "lesion A", "one", "Niere links"])
def test_a_name_that_no_class_has_is_not_overruled_by_its_number(name: str) -> None:
    assert list(doubts(drawn(name), KIDNEYS)) == [name]


def test_two_segments_that_say_one_class_are_undecided_unless_the_user_says_so() -> None:
    twice = drawn("left kidney", "kidney_left", "liver")
    assert list(doubts(twice, KIDNEYS)) == ["left kidney", "kidney_left"]
    said = renamed(twice, {"left kidney": "kidney_left", "KIDNEY_LEFT": "kidney_left"})
    assert decided(list(said), KIDNEYS) == ["kidney_left", "kidney_left", "liver"]


def test_answers_are_given_by_name_or_number() -> None:
    segments = drawn("x", ("y", 7))
    assert [x.name for x in renamed(segments, {"x": "liver", 7: "kidney_left"})] == ["liver", "kidney_left"]
    assert [x.name for x in renamed(segments, {"7": "liver", "9": "spleen"})] == ["x", "liver"]
    with pytest.raises(InputError, match='no segment "z" that could be called liver; it has "x", "y"'):
        renamed(segments, {"z": "liver"})


def test_what_is_undecided_is_asked_in_one_sentence() -> None:
    label, segments = painted({"cyst": np.array([[[1, 0, 0]]], bool), "left kidney": np.array([[[0, 1, 0]]], bool)})
    with pytest.raises(InputError) as caught:
        understood(label, segments, None, KIDNEYS, "The reference drawn.seg.nrrd")
    sentence = str(caught.value)
    assert sentence.startswith('The reference drawn.seg.nrrd leaves open which class of the network is meant by "cyst" (')
    assert '--label-names "cyst=' in sentence and sentence.endswith(".") and sentence.count(". ") == 0
    assert "kidney_right, kidney_left, liver" in sentence
    known, names = understood(label, segments, {"cyst": "background"}, KIDNEYS, "The reference")
    assert known.tolist() == [[[0, 2, 0]]] and names == KIDNEYS.reference_names


def test_parts_of_what_a_class_merges_need_name_and_number() -> None:
    merging = OutputHead.of({0: "background", 1: "tumour", 3: "kidneys"}, regions={1: (1, 2, 4), 3: (3, 5)})
    parts = drawn(("necrotic core", 1), ("oedema", 2), ("enhancing tumour", 4), ("left kidney", 3), ("right kidney", 5))
    assert decided(parts, merging) == ["1", "2", "4", "3", "5"]
    assert list(doubts(drawn(("spleen", 1)), merging)) == ["spleen"]
    assert list(doubts(drawn(("left kidney", 1)), merging)) == ["left kidney"]


def test_a_plain_label_map_is_taken_as_it_is_and_single_values_can_be_named() -> None:
    label = np.array([[[0, 1, 2, 3]]], np.int16)
    found, names = understood(label, None, None, None, "The reference")
    assert found is label and names is None
    found, _ = understood(label, None, {"3": "ET"}, PARTS, "The reference")
    assert found.tolist() == [[[0, 1, 2, 4]]]
    case = Case(np.zeros((1, 1, 1, 4)), ("CT",), np.eye(4), label, {3: "enhancing tumour"})
    assert case.in_terms_of(PARTS).label.tolist() == [[[0, 1, 2, 4]]]
    with pytest.raises(InputError, match=r'label value\(s\) 3, .*--label-names "3=NCR"'):
        understood(label, None, None, PARTS, "The reference")


def test_values_below_zero_may_be_named_too() -> None:
    label = np.array([[[-2, 0, 1, 3]]], np.int16)
    found, _ = understood(label, None, {-2: "ET", 3: "oedema"}, PARTS, "The reference")
    assert found.tolist() == [[[4, 0, 1, 2]]]


LABELS = arrays.arrays(np.int16, (2, 3, 4), elements=st.sampled_from([0, 1, 2, 5]))


@settings(max_examples=60, deadline=None)
@given(LABELS, st.permutations([1, 2, 3, 4, 7, 300]))
def test_how_segments_are_numbered_does_not_matter(label: np.ndarray, numbers: list[int]) -> None:
    names = {1: "right kidney", 2: "Kidney, left", 5: "LIVER"}
    given_ = np.zeros_like(label)
    for value, number in zip(names, numbers):
        given_[label == value] = number
    case = Case(np.zeros((1, 2, 3, 4)), ("CT",), np.eye(4), given_, dict(zip(numbers, names.values())))
    known = case.in_terms_of(KIDNEYS)
    assert np.array_equal(known.label, label)
    assert known.in_terms_of(KIDNEYS) is known


MASKS = st.lists(arrays.arrays(bool, (2, 3, 4)), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(MASKS)
def test_every_segment_can_be_told_from_the_map_in_which_they_are_painted(masks: list[np.ndarray]) -> None:
    label, segments = painted({f"s{n}": mask for n, mask in enumerate(masks)})
    assert label.dtype == np.int16
    for mask, segment in zip(masks, segments):
        assert np.array_equal(np.isin(label, segment.values), mask)


@settings(max_examples=60, deadline=None)
@given(LABELS)
def test_segments_that_do_not_overlap_keep_their_numbers(label: np.ndarray) -> None:
    found, segments = painted({f"s{n}": label == n for n in (1, 2, 5)}, {"s1": 1, "s2": 2, "s5": 5})
    assert np.array_equal(found, label)


TRUTH = np.array([[[0, 2, 2, 1, 1, 4]]], np.int16)
NESTED = {"WT": TRUTH > 0, "TC": np.isin(TRUTH, (1, 4)), "ET": TRUTH == 4}
APART = {"oedema": TRUTH == 2, "necrosis": TRUTH == 1, "enhancing": TRUTH == 4}


@pytest.mark.parametrize("head", [PARTS, REGIONS], ids=["parts", "regions"])
@pytest.mark.parametrize("masks", [NESTED, APART], ids=["nested", "apart"])
def test_tumours_drawn_in_parts_or_nested_are_known_to_both_kinds_of_networks(head, masks) -> None:
    for order in (list(masks), list(masks)[::-1]):
        label, segments = painted({name: masks[name] for name in order})
        assert np.array_equal(relabelled(label, segments, None, head, "The reference"), TRUTH)


def test_of_exclusive_classes_the_inner_one_counts_and_others_may_not_overlap() -> None:
    head = OutputHead.of({0: "background", 1: "liver", 2: "lesion"})
    liver = np.array([[[1, 1, 1, 0]]], bool)
    inside, across = np.array([[[0, 1, 0, 0]]], bool), np.array([[[0, 0, 1, 1]]], bool)
    for masks in ({"liver": liver, "lesion": inside}, {"lesion": inside, "liver": liver}):
        assert relabelled(*painted(masks), None, head, "The reference").tolist() == [[[1, 2, 1, 0]]]
    with pytest.raises(InputError, match=r'1 voxel\(s\) of the reference lie in "liver" and "lesion"'):
        relabelled(*painted({"liver": liver, "lesion": across}), None, head, "The reference")
    # whole tumour without its core: it is not known what it is made of
    with pytest.raises(InputError, match=r'2 voxel\(s\) of the reference lie in "WT"'):
        relabelled(*painted({"WT": np.isin(TRUTH, (2, 4)), "ET": TRUTH == 4}), None, PARTS, "The reference")


def test_overlapping_segments_need_a_network() -> None:
    label, segments = painted(NESTED)
    with pytest.raises(InputError, match=r'"WT" and "TC" \(and 2 more pair\(s\)\) of the reference overlap in 3 voxel\(s\)'):
        understood(label, segments, None, None, "The reference")


@pytest.mark.parametrize(
    ("classes", "regions"),
    [
        ({0: "background", 1: "necrosis", 2: "edema", 4: "enhancing"}, {"WT": {1, 2, 4}, "TC": {1, 4}, "ET": {4}}),
        ({0: "background", 1: "NCR", 2: "ED", 3: "ET"}, {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}}),
        ({0: "background", 1: "NETC", 2: "SNFH", 3: "ET", 4: "RC"}, {"WT": {1, 2, 3}, "TC": {1, 3}, "ET": {3}}),
        (
            {0: "background", 1: "edema", 2: "non-enhancing tumor", 3: "enhancing tumour"},
            {"WT": {1, 2, 3}, "TC": {2, 3}, "ET": {3}},
        ),
        ({0: "background", 1: "liver", 2: "spleen", 4: "kidney"}, {}),
        ({0: "background", 1: "core", 2: "edema", 3: "rim"}, {}),
        ({0: "background", 1: "tumour"}, {}),
    ],
)
def test_tumour_regions_are_known_by_the_names_of_classes(classes, regions) -> None:
    found = tumour_regions(OutputHead.of(classes))
    short = {"WT": "whole tumor", "TC": "tumor core", "ET": "enhancing tumor"}
    assert {x: set(found[concept]) for x, concept in short.items() if concept in found} == regions


def test_segments_without_a_voxel_need_no_meaning() -> None:
    segments = [replace(x, values=()) for x in drawn("skull", "left kidney")]
    assert not match([*segments, *drawn("liver")], KIDNEYS).undecided


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        *(("pancreas", "Pancreas"), ("Pancreatic duct", "Tissue"), ("NCR/NET", "Necrosis"), ("nonenhancing core", "Necrosis")),
        *(("oedema", "Edema"), ("peritumoral edema", "Edema"), ("GD-enhancing tumour", "Mass"), ("liver_tumour", "Mass")),
        *(("metastases", "Mass"), ("massa intermedia", "Tissue"), ("brainstem", "Tissue"), ("brain", "Brain")),
        *(("gall bladder", "Gallbladder"), ("bladder", "Bladder"), ("grey matter", "Gray Matter"), ("leftKidney", "Kidney")),
    ],
)
def test_a_name_suggests_what_its_words_say_not_what_its_letters_do(name: str, meaning: str) -> None:
    assert entry_of(name).split("~")[2].endswith(f"^{meaning}")
