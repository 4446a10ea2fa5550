"""Which volume is which channel, guessed from the names that people, scanners and public data sets give."""

from __future__ import annotations

import functools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

_T1 = r"t1(?:w|n)?|mprage|mp2rage|bravo|spgr"
_GADOLINIUM = r"gd|gad|gado|gadolinium|gadovist|dotarem|km|ce|cm"
_JOINED = r"c|ce|cw|cm|gd|gad|gado|km|post|pc|contrast|enhanced|plus"

# From the most specific kind to the least: what one pattern has found is hidden from the next. Texts are as `_words` makes
# them: small letters and digits, single blanks between words and at both ends.
_KINDS = tuple(
    (kind, re.compile(rf"(?<= )(?:{pattern})(?= )"))
    for kind, pattern in (
        ("T1ce", rf"(?:t1w?|mprage)(?:{_JOINED})|(?:{_GADOLINIUM})t1w?|(?:{_T1}) (?:c|pc)"),
        ("FLAIR", r"(?:t2w? ?)?(?:space )?(?:flair|dark ?fluid|fluid attenuated)(?: t2w?)?|t2f|t2w?flair"),
        ("T2star", r"t2w? ?star(?:w| weighted)?|t2s|gre t2w?"),
        ("SWI", r"swi|swan|susceptibility"),
        ("T1", rf"(?:{_T1})(?: weighted)?|t1(?:native|pre|weighted|mprage|tse|se)"),
        ("T2", r"t2(?:w|tse|fse|weighted)?(?: weighted)?"),
        ("PD", r"pdw?|proton ?density(?: weighted)?"),
        ("ADC", r"adc|adcmap|apparent diffusion(?: coefficient)?"),
        ("DWI", r"dwi|diffusion(?: weighted)?|trace|b ?(?:[5-9]00|1[0-9]00|2000)"),
        ("PET", r"pet|suv|fdg"),
        ("CT", r"ct|ncct|cect|hrct|cta|cbct|computed tomography"),
    )
)
_CONTRAST = re.compile(
    rf"(?<= )(?:(?:{_GADOLINIUM}|plus|postgd|postcontrast|contrast|enhanced|enhancement)"
    r"|post(?! (?:op|operative|operation|surgery|treatment|rt|radiation|chemo)\b))(?= )"
)
_NO_CONTRAST = re.compile(
    r"(?<= )(?:pre|no|non|without|before|w o|native|un) ?(?:contrast|enhanced|gd|gad|gadolinium|km)(?= )"
)
# "T1 to FLAIR", "T1 registered to FLAIR", "space-T1w_FLAIR": the grid that it lies on is not what it shows
_OTHER_GRID = re.compile(r"(?<= )(?:space \S+|(?:to|2|in|on|onto|reg|registered|resampled|coreg) .*)(?= )")
_GENERIC = {"image", "images", "input", "channel", "volume", "mr", "mri", "scan", "intensity"}
_MOST_ANCHORS = 50


def guessChannels(
    channels: Sequence[str],
    names: Sequence[str],
    *,
    groups: Sequence[Hashable] = (),
    fixed: Mapping[str, int] | None = None,
) -> dict[str, int | None]:
    """Choose a volume for each channel by its name; no volume serves two channels.

    Where several volumes could be a channel, those are preferred that lie in one group, and whose names begin alike; then
    those whose names come first in the alphabet, so that the order of `names` is of no importance.

    Args:
        channels: the network's channels.
        names: the names of the volumes that may be chosen.
        groups: for each volume what it belongs to, such as its folder; empty: nothing is known.
        fixed: channels that have their volume (its index in `names`) already.

    Returns:
        The index in `names` for each channel, or None.
    """
    fixed = dict(fixed or {})
    volumes = [_Volume(n, name, groups[n] if groups else None) for n, name in enumerate(names)]
    free = [x for x in volumes if x.index not in fixed.values()]
    candidates = {channel: _candidates(channel, channels, free) for channel in channels if channel not in fixed}
    candidates = {channel: found for channel, found in candidates.items() if found}
    wanted = sorted(candidates, key=lambda channel: (-len(_words(channel).split()), channel))
    taken = [volumes[n] for n in fixed.values()]
    best: dict[str, _Volume] = {}
    bestScore: tuple = ()
    for anchor in taken or _anchors([candidates[channel] for channel in wanted]):
        chosen = _chooseNear(anchor, wanted, candidates)
        score = _score([*taken, *chosen.values()])
        if not bestScore or score < bestScore:
            best, bestScore = chosen, score
    return {channel: best[channel].index if channel in best else fixed.get(channel) for channel in channels}


@functools.lru_cache(maxsize=10_000)
def kindOf(text: str) -> str | None:
    """The kind of image that a name or channel speaks of ("T1", "T1ce", "T2", "FLAIR", "CT", ...), or None."""
    return _kindOfWords(_words(text)) or _kindOfWords(_words(re.sub(r"(?<=[A-Z0-9])(?=[A-Z][a-z])", " ", text)))


def _kindOfWords(text: str) -> str | None:
    words = _OTHER_GRID.sub("", text, count=1) or text
    found = []
    for kind, pattern in _KINDS:
        found += [(match.start(), kind) for match in pattern.finditer(words)]
        words = pattern.sub(lambda match: "_" * len(match.group()), words)
    if not found:
        return None
    # of several kinds the last counts: names go from the general (study, subject) to the particular
    kind = max(found)[1]
    without = _NO_CONTRAST.sub("_", words)
    return "T1ce" if kind == "T1" and _CONTRAST.search(without) else kind


def _words(text: str) -> str:
    """Small letters and digits, in words with one blank between them and at both ends."""
    plain = unicodedata.normalize("NFKD", text).casefold().replace("*", " star ").replace("+", " plus ")
    return f" {' '.join(re.findall(r'[a-z0-9]+', plain))} "


class _Volume:
    """A volume that may be chosen, with what is asked of its name again and again."""

    def __init__(self, index: int, name: str, group: Hashable) -> None:
        self.index, self.group = index, group
        self.words, self.kind = _words(name), kindOf(name)
        self.folded = name.casefold()
        self.order = (_naturally(self.folded), name)


def _candidates(channel: str, channels: Sequence[str], free: Sequence[_Volume]) -> list[_Volume]:
    """The volumes that may be this channel, in the order of their names."""
    kind, words = kindOf(channel), _words(channel)
    if kind is not None and Counter(map(kindOf, channels))[kind] == 1:
        found = [x for x in free if x.kind == kind]
    else:
        found = [x for x in free if words in x.words and x.kind == kind]
    alone = not found and len(channels) == 1 and len(free) == 1
    if alone and (free[0].kind is None or (kind is None and _GENERIC & set(words.split()))):
        found = list(free)
    return sorted(found, key=lambda x: x.order)


def _anchors(candidates: Sequence[Sequence[_Volume]]) -> Sequence[_Volume]:
    """Volumes with each of which a choice is tried: those of the channel that has fewest, so that none is left out."""
    return min(candidates, key=len, default=())[:_MOST_ANCHORS]


def _chooseNear(anchor: _Volume, wanted: Sequence[str], candidates: Mapping[str, Sequence[_Volume]]) -> dict[str, _Volume]:
    chosen: dict[str, _Volume] = {}
    for channel in wanted:
        left = [x for x in candidates[channel] if x not in chosen.values()]
        if left:
            chosen[channel] = min(left, key=lambda x: _distance(anchor, x))
    return chosen


def _distance(a: _Volume, b: _Volume) -> tuple[bool, int]:
    together = a.group is not None and a.group == b.group
    return not together, -len(os.path.commonprefix([a.folded, b.folded]))


def _score(chosen: Sequence[_Volume]) -> tuple:
    """Sorts the better choice first: more channels, of fewer groups, names that differ in less of their ends, then by name."""
    alike = len(os.path.commonprefix([x.folded for x in chosen])) if chosen else 0
    different = sum(len(x.folded) - alike for x in chosen)
    return -len(chosen), len({x.group for x in chosen}), different, sorted(x.order for x in chosen)


def _naturally(name: str) -> list[tuple[int, str]]:
    """Sorts "case 9" before "case 10"."""
    return [(int(number or 0), text) for number, text in re.findall(r"(\d+)|(\D+)", name)]
