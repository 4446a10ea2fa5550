"""Whether two names of a structure say the same: "left kidney", "kidney_left" and "Kidney (L)" do, "right kidney" does not."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

_SIDES = {"l": "left", "lt": "left", "left": "left", "r": "right", "rt": "right", "right": "right"}

_CONCEPTS = {
    "necrosis": (
        *("ncr", "necrotic", "necrotic core", "necrotic tumor", "necrotic tumor core", "ncr net"),
        *("necrotic non enhancing tumor", "necrotic non enhancing tumor core"),
    ),
    "non enhancing tumor": ("net", "non enhancing"),
    "non enhancing tumor core": ("netc",),
    "edema": (
        *("ed", "peritumoral edema", "peritumoral edematous tissue", "peritumoral edematous invaded tissue"),
        *("snfh", "surrounding non enhancing flair hyperintensity"),
    ),
    "enhancing tumor": ("et", "enhancing", "gd enhancing tumor", "gadolinium enhancing tumor", "contrast enhancing tumor"),
    "tumor core": ("tc",),
    "whole tumor": ("wt",),
    "cerebrospinal fluid": ("csf",),
    "gray matter": ("gm",),
    "white matter": ("wm",),
    "inferior vena cava": ("ivc", "postcava"),
    "adrenal gland": ("suprarenal gland",),
    "clavicle": ("clavicula",),
}
"""What the field calls a structure, and further names that mean it for certain: BraTS' (from 2012 to 2023) and anatomy's."""

_IGNORED = {"the", "of", "a", "an", "and"}
# what programs call a segment that nobody has named: "Segment_1", "Label 3", "1", "new mask copy"
_EMPTY = {"segment", "seg", "label", "class", "value", "region", "roi", "mask", "object", "item", "number", "no", "nr", "new"}
_EMPTY |= {"unnamed", "untitled", "copy", "index", "id"}


@dataclass(frozen=True)
class Name:
    """A name as it is compared with others.

    Attributes:
        sides: "left", "right", both or none.
        words: the other words, spelt one way, in their order.
    """

    sides: frozenset[str]
    words: tuple[str, ...]

    @property
    def concept(self) -> str:
        """What it means, whatever the order of its words and whichever of several names it is."""
        return _CONCEPT_OF.get(_key(self.words), _key(self.words))

    @property
    def says_nothing(self) -> bool:
        """Whether nobody has named it: no words but those with which programs number their segments."""
        return not self.sides and all(re.sub(r"\d+", "", word) in {"", *_EMPTY} for word in self.words)

    def means(self, other: Name) -> bool:
        """Whether both say the same."""
        if self.sides != other.sides or self.says_nothing != other.says_nothing:
            return False
        return self.concept == other.concept or "".join(self.words) == "".join(other.words)

    def contradicts(self, other: Name) -> bool:
        """Whether one says left where the other says right."""
        return len(self.sides) == len(other.sides) == 1 and self.sides != other.sides

    def is_part_of(self, other: Name) -> bool:
        """Whether this says all that the other says, and more: a left kidney is one of the kidneys."""
        return not other.says_nothing and set(other.words) <= set(self.words) and other.sides <= self.sides


@lru_cache(maxsize=10_000)
def name_of(text: str) -> Name:
    """A text as a name: without capitals, signs, plurals and the differences between British and American spelling."""
    both = re.fullmatch(r"(.+)\((.+)\)\s*", text)
    if both and name_of(both[1]).concept in _CONCEPTS and name_of(both[1]).means(name_of(both[2])):
        text = both[1]  # "whole tumour (WT)"
    words = [_spelt(word) for word in _words_of(text)]
    sides = frozenset(_SIDES[word] for word in words if word in _SIDES)
    return Name(sides, tuple(word for word in words if word not in _SIDES and word not in _IGNORED))


def _words_of(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    plain = re.sub(r"['’`]s\b", "", plain)
    # leftKidney, LVentricle
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", plain)
    return re.findall(r"[^\W_]+", plain.casefold().replace("nonenhancing", "non enhancing"))


def _spelt(word: str) -> str:
    """A word in the singular and in one spelling; not always one that is found in a dictionary."""
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is", "as")):
        word = re.sub(r"(?<=ss|ch|sh)es$|(?<=x)es$|(?<=.)s$", "", re.sub(r"ies$", "ys", word))
    word = re.sub(r"ae$", "a", word)
    word = re.sub(r"(?<=.)our", "or", re.sub(r"[ao]e", "e", word))
    return {"grey": "gray", "centre": "center", "fibre": "fiber", "metastase": "metastasis"}.get(word, word)


def _key(words: tuple[str, ...]) -> str:
    return " ".join(sorted(words))


_CONCEPT_OF = {
    _key(tuple(map(_spelt, _words_of(text)))): concept for concept, others in _CONCEPTS.items() for text in (concept, *others)
}
