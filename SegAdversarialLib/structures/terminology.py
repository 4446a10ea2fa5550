"""Terminology entries of segments in Slicer's notation: codes (SNOMED CT, DICOM) with which a segment says what it is.

An entry has seven parts, separated by "~": the name of a list, category, type, type modifier, the name of a list of regions,
anatomic region, its modifier. Five of them are codes of three parts, separated by "^": coding scheme, value, meaning.
"""

from __future__ import annotations

import re

from SegAdversarialLib.structures.naming import name_of

_ALTERED = "SCT^49755003^Morphologically Altered Structure"
_ANATOMY = "SCT^123037004^Anatomical Structure"
_TISSUE = "SCT^85756007^Tissue~SCT^85756007^Tissue"
# Whole words of a class's name as `name_of` spells them, and what they mean in Slicer's list; the first that fits counts.
_TERMS = (
    (r"necro\w*|ncr|non enhancing", f"{_ALTERED}~SCT^6574001^Necrosis"),
    (r"\w*edema\w*", f"{_ALTERED}~SCT^79654002^Edema"),
    (r"\w*tumor\w*|lesion|enhancing|\w*cancer\w*|metasta\w*|\w*glioma|mass", f"{_ALTERED}~SCT^4147007^Mass"),
    ("liver", f"{_ANATOMY}~SCT^10200004^Liver"),
    ("spleen", f"{_ANATOMY}~SCT^78961009^Spleen"),
    ("kidney", f"{_ANATOMY}~SCT^64033007^Kidney"),
    ("aorta", f"{_ANATOMY}~SCT^15825003^Aorta"),
    ("gall ?bladder", f"{_ANATOMY}~SCT^28231008^Gallbladder"),
    ("bladder", f"{_ANATOMY}~SCT^89837001^Bladder"),
    ("pancreas", f"{_ANATOMY}~SCT^15776009^Pancreas"),
    ("stomach", f"{_ANATOMY}~SCT^69695003^Stomach"),
    ("prostate", f"{_ANATOMY}~SCT^41216001^Prostate"),
    ("lung", f"{_ANATOMY}~SCT^39607008^Lung"),
    ("heart", f"{_ANATOMY}~SCT^80891009^Heart"),
    ("white matter", f"{_ANATOMY}~SCT^389080008^White Matter"),
    ("gray matter", f"{_ANATOMY}~SCT^389081007^Gray Matter"),
    ("brain", f"{_ANATOMY}~SCT^12738006^Brain"),
)
_LIST = "Segmentation category and type - 3D Slicer General Anatomy list"
_REGION = "Anatomic codes - DICOM master list~^^~^^"
_LEFT, _RIGHT = "SCT^7771000^Left", "SCT^24028007^Right"

_MEANING_OF = {code: meaning for _, term in _TERMS for code, meaning in [tuple(term.split("~")[1].split("^")[1:])]}
_MEANING_OF |= {_LEFT.split("^")[1]: "left", _RIGHT.split("^")[1]: "right", "51440002": "left and right"}
"""What SNOMED CT's codes mean, also where an entry says it in another language."""

# the type that Slicer gives to every new segment, and types that say as little
_VAGUE = {"85756007", "123037004", "49755003"}


def entry_of(name: str) -> str:
    """The terminology entry that a class's name suggests; "Tissue" if none."""
    words = " ".join(name_of(name).words)
    term = next((meaning for said, meaning in _TERMS if re.search(rf"\b(?:{said})\b", words)), _TISSUE)
    side = {frozenset(["left"]): _LEFT, frozenset(["right"]): _RIGHT}.get(name_of(name).sides, "^^")
    return f"{_LIST}~{term}~{side}~{_REGION}"


def meaning_of(entry: str) -> str:
    """What an entry says in English, such as "Left Kidney"; nothing where it only says that it is tissue."""
    parts = (entry.split("~") + [""] * 7)[:7]
    words = [_in_words(part) for part in (parts[6], parts[5], parts[3], parts[2])]
    return " ".join(word for word in words if word)


def entry_in(tags: str) -> str:
    """The entry among a segment's tags as a .seg.nrrd file writes them ("key:value|key:value|"), or nothing."""
    pairs = (pair.partition(":") for pair in tags.split("|"))
    return next((value for key, _, value in pairs if key == ENTRY_TAG), "")


ENTRY_TAG = "TerminologyEntry"
"""The key of the tag."""


def _in_words(code: str) -> str:
    scheme, value, meaning = (code.split("^") + [""] * 3)[:3]
    if value in _VAGUE:
        return ""
    return _MEANING_OF.get(value, meaning) if scheme == "SCT" else meaning
