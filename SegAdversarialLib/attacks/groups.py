"""Attacks that belong together, so that several can be chosen by one name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

Group = Literal["paper", "gradient", "realistic", "random", "black-box"]
"""What an attack states that it belongs to; the first is where a list shows it."""

DESCRIPTIONS: dict[str, str] = {
    "paper": "those of the five papers that this software stands on",
    "gradient": "follow the network's gradient, within an epsilon",
    "realistic": "change the image as a scanner, a body or a compressed file could",
    "random": "drawn at random: what an attack must exceed",
    "black-box": "need no gradient of the attacked network",
}
"""The groups and what their attacks have in common, in the order in which lists show them."""


def members(group: str, attacks: Iterable[Any]) -> list[Any]:
    """Those of some attacks (or classes of attacks) that belong to a group, those listed there first."""
    found = [attack for attack in attacks if group in attack.groups]
    return sorted(found, key=lambda attack: attack.groups[0] != group)
