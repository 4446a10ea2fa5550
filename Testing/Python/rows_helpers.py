"""Rows of a study as its store gives them, with numbers that can be followed by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

PATIENTS = tuple(f"p{n}" for n in range(6))
STRUCTURES = ("TC", "WT")

Dice = Callable[[str, str, int, str], float]
"""Of a network, a condition's budget and channels (as "0.05 all"), a patient's number and a structure."""


def falling(network: str, condition: str, patient: int, structure: str) -> float:
    """Dice of 0.9 less a hundredth for each patient before him; it falls by ten times the budget, half as much for a defence,
    and by a quarter of that where one channel is attacked."""
    budget, channels = condition.split()
    fall = 10 * float(budget) * (0.5 if network != "plain" else 1.0) * (1.0 if channels == "all" else 0.25)
    return 0.9 - 0.01 * patient - (0.02 if structure == "WT" else 0.0) - fall * (1 + 0.01 * patient)


def rows(
    networks: Sequence[str] = ("plain", "defended"),
    budgets: Sequence[float] = (0.02, 0.05),
    channels: Sequence[str] = ("all",),
    dice: Dice = falling,
    attack: str = "fgsm",
    variants: Sequence[str] = ("",),
) -> list[dict[str, Any]]:
    """A row for each cell and structure."""
    return [
        _row(network, patient, attack, budget, where, variant, structure, dice)
        for network in networks
        for budget in budgets
        for where in channels
        for variant in variants
        for patient in range(len(PATIENTS))
        for structure in STRUCTURES
    ]


def _row(
    network: str, patient: int, attack: str, budget: float, channels: str, variant: str, structure: str, dice: Dice
) -> dict[str, Any]:
    before = dice(network, "0 all", patient, structure)
    after = dice(network, f"{budget} {channels}", patient, structure)
    head = {
        **{"key": f"{network}|{attack}|{budget}|{channels}|{variant}|{patient}", "network": network},
        **{"case": f"case-{patient}", "patient": PATIENTS[patient], "attack": attack, "variant": variant, "repeat": 0},
        **{
            "settings": {"attack": attack, "epsilon": budget},
            "budget": budget,
            "budget_name": "epsilon",
            "channels": channels,
        },
    }
    lost = after < 0.45
    return {
        **head,
        **{"structure": structure, "dice_before": before, "dice_after": after, "dice_unwarped": math.nan},
        **{"drop": (before - after) / before, "success": (before - after) / before >= 0.3},
        **{"iou_before": before / (2 - before), "iou_after": after / (2 - after)},
        **{"hd95_before": 2.0, "hd95_after": math.inf if lost else 4.0, "volume_before": 30.0, "volume_after": 20.0},
    }


def channel_rows(of: Iterable[dict[str, Any]], channels: Sequence[str] = ("T1", "T2")) -> list[dict[str, Any]]:
    """A row for each cell and channel: those that were not attacked are identical."""
    cells = {row["key"]: row for row in of}
    found = []
    for row in cells.values():
        head = {x: row[x] for x in row if x in _HEAD}
        for n, channel in enumerate(channels):
            hit = row["budget"] > 0 and (row["channels"] == "all" or channel in row["channels"].split("+"))
            found.append(
                {
                    **head,
                    **{"channel": channel, "psnr": 40.0 - 100 * row["budget"] if hit else math.inf, "rmse": row["budget"]},
                    **{"ssim": 1 - row["budget"], "perceptibility": row["budget"], "largest_change": 0.0},
                    **{"qq_slope_before": 200.0 + n, "qq_intercept_before": 300.0 + 10 * n},
                }
            )
    return found


def traces(of: Iterable[dict[str, Any]], iterations: int = 4) -> list[dict[str, Any]]:
    """A row for each cell and iteration: Dice falls evenly."""
    cells = {row["key"]: row for row in of}
    return [
        {
            **{x: row[x] for x in row if x in _HEAD},
            **{"restart": 0, "iteration": n, "psnr": 50.0 - n if n else math.inf},
            "dice mean": row["dice_before"] + (row["dice_after"] - row["dice_before"]) * n / iterations,
        }
        for row in cells.values()
        for n in range(iterations + 1)
    ]


_HEAD = {
    *("key", "network", "case", "patient", "attack", "variant", "repeat", "settings", "budget", "budget_name", "channels"),
}
