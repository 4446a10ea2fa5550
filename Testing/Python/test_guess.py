"""Which volume is which channel: names as scanners, public data sets and people write them."""

from __future__ import annotations

import sys
import time

import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(ROOT / "SegAdversarial"))
from SegAdversarialGui.guess import guessChannels, kindOf  # noqa: E402

BRATS = ("T1", "T1ce", "T2", "FLAIR")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BraTS20_001_t1ce", "T1ce"),
        ("BraTS20_Training_001_t1", "T1"),
        ("BraTS-GLI-00000-000-t1n", "T1"),
        ("BraTS-GLI-00000-000-t1c", "T1ce"),
        ("BraTS-GLI-00000-000-t2f", "FLAIR"),
        ("BraTS-GLI-00000-000-t2w", "T2"),
        ("sub-01_T1w", "T1"),
        ("sub-01_ce-gadolinium_T1w", "T1ce"),
        ("sub-01_space-T1w_FLAIR", "FLAIR"),
        ("case7 T1 post-Gd", "T1ce"),
        ("t1_gd", "T1ce"),
        ("T1c", "T1ce"),
        ("T1+C", "T1ce"),
        ("T1 + contrast", "T1ce"),
        ("T1_MPRAGE_post", "T1ce"),
        ("post-contrast axial T1", "T1ce"),
        ("T1 pre-contrast", "T1"),
        ("T1 without contrast", "T1"),
        ("T1 post-op", "T1"),
        ("t1_km", "T1ce"),
        ("UPENN-GBM-00001_11_T1GD", "T1ce"),
        ("MR flair axial", "FLAIR"),
        ("AX T2 FLAIR", "FLAIR"),
        ("t2_tirm_tra_dark-fluid", "FLAIR"),
        ("t2w", "T2"),
        ("T2*", "T2star"),
        ("ep2d_T2star", "T2star"),
        ("TCGA-CS-4944_t1Gd", "T1ce"),
        ("brain_T1_MNI", "T1"),
        ("T1_to_FLAIR", "T1"),
        ("FLAIR registered to T1ce", "FLAIR"),
        ("MRBrainTumor1", None),
        ("MPRAGE", "T1"),
        ("4: T1-weighted sagittal", "T1"),
        ("CTChest", "CT"),
        ("MRHead", None),
        ("CT abdomen", "CT"),
        ("DWI_b1000", "DWI"),
        ("eADC map adc", "ADC"),
        ("PDw", "PD"),
        ("SWI", "SWI"),
        ("", None),
        ("头部 T2 ÄÖ", "T2"),
    ],
)
def test_kinds_of_real_names(name: str, kind: str | None) -> None:
    assert kindOf(name) == kind


def test_a_subject_of_brats() -> None:
    names = ["x_flair", "x_seg", "x_t1", "x_t1ce", "x_t2"]
    assert guessChannels(BRATS, names) == {"T1": 2, "T1ce": 3, "T2": 4, "FLAIR": 0}


def test_t1_does_not_take_the_volume_of_t1ce_and_the_other_way_round() -> None:
    assert guessChannels(BRATS, ["a_t1ce"]) == {"T1": None, "T1ce": 0, "T2": None, "FLAIR": None}
    assert guessChannels(BRATS, ["a_t1"]) == {"T1": 0, "T1ce": None, "T2": None, "FLAIR": None}
    assert guessChannels(("T1", "T2"), ["T1 Gd", "T2"]) == {"T1": None, "T2": 1}


def test_one_volume_serves_one_channel() -> None:
    assert guessChannels(("T1", "T1w"), ["T1w"]) == {"T1": None, "T1w": 0}
    assert guessChannels(("CT", "CT venous"), ["9 CT venous", "9 CT"]) == {"CT": 1, "CT venous": 0}


def test_one_channel_takes_the_only_volume() -> None:
    assert guessChannels(("image",), ["Panoramix-cropped"]) == {"image": 0}
    assert guessChannels(("image",), ["T2"]) == {"image": 0}
    assert guessChannels(("image",), ["a", "b"]) == {"image": None}
    assert guessChannels(("CT",), ["Panoramix-cropped"]) == {"CT": 0}
    assert guessChannels(("CT",), ["T2"]) == {"CT": None}
    assert guessChannels((), ["T2"]) == {}


def test_channels_that_nobody_knows_are_found_by_their_own_words() -> None:
    assert guessChannels(("rCBV", "K-trans"), ["p1 k trans map", "p1_rcbv"]) == {"rCBV": 1, "K-trans": 0}


def test_of_two_subjects_one_is_taken_whole() -> None:
    names = ["case10_t1", "case9_t1", "case9_t2", "case10_t2", "case9_flair", "case10_flair", "case9_t1gd"]
    assert guessChannels(BRATS, names) == {"T1": 1, "T1ce": 6, "T2": 2, "FLAIR": 4}
    assert guessChannels(BRATS, names, fixed={"T2": 3}) == {"T1": 0, "T1ce": 6, "T2": 3, "FLAIR": 5}


def test_of_subjects_alike_the_first_is_taken_and_many_take_no_time() -> None:
    ends = ("t1", "t1gd", "t2", "flair")
    names = [f"case{n // 4}_{ends[n % 4]}" for n in range(400)]
    assert guessChannels(BRATS, names) == {"T1": 0, "T1ce": 1, "T2": 2, "FLAIR": 3}
    start = time.perf_counter()
    guessChannels(BRATS, names)
    assert time.perf_counter() - start < 1


def test_what_lies_in_one_folder_belongs_together() -> None:
    names = ["t1", "t1 ", "t2", "flair"]
    guessed = guessChannels(("T1", "T2", "FLAIR"), names, groups=["a", "b", "b", "b"])
    assert guessed == {"T1": 1, "T2": 2, "FLAIR": 3}
    assert guessChannels(("T1", "T2"), ["t1", "t1 ", "t2"], groups=["a", "b", "b"], fixed={"T1": 0}) == {"T1": 0, "T2": 2}


_WORDS = ("t1", "T1ce", "t2", "FLAIR", "gd", "post", "case1", "case2", "axial", "CT", "x", "sub-3", "t1c", "+C", "seg", "to")
_NAMES = st.lists(st.lists(st.sampled_from(_WORDS), max_size=4).map("_".join), unique=True, max_size=8)
_CHANNELS = st.lists(st.sampled_from((*BRATS, "CT", "image", "CT venous", "T1w")), unique=True, max_size=5)


@settings(deadline=None)
@given(names=_NAMES, channels=_CHANNELS, data=st.data())
def test_the_order_of_names_is_of_no_importance_and_none_is_used_twice(names, channels, data) -> None:
    folders = {name: data.draw(st.sampled_from("ab")) for name in names}
    guessed = guessChannels(channels, names, groups=[folders[x] for x in names])
    assert list(guessed) == channels
    used = [n for n in guessed.values() if n is not None]
    assert len(set(used)) == len(used)
    shuffled = data.draw(st.permutations(names))
    again = guessChannels(data.draw(st.permutations(channels)), shuffled, groups=[folders[x] for x in shuffled])
    assert {k: None if n is None else names[n] for k, n in guessed.items()} == {
        k: None if n is None else shuffled[n] for k, n in again.items()
    }


@settings(deadline=None)
@given(names=st.lists(st.text(max_size=12), max_size=6), channels=st.lists(st.text(max_size=6), unique=True, max_size=4))
def test_no_name_breaks_it(names, channels) -> None:
    assert set(guessChannels(channels, names)) == set(channels)
