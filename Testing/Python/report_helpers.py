"""Made-up results of studies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from SegAdversarialLib.studies.grouping import Results
from SegAdversarialLib.studies.records import CHANNEL_COLUMNS, Cell
from SegAdversarialLib.studies.report.material import Account, Material, Trouble

HOSTILE = '<script>alert("x")</script>'

NETWORKS = ("U-Net", "Distillation (T = 20)", HOSTILE)
ATTACKS = {"FGSM": "fgsm", "i-FGSM": "ifgsm", "Scanner": "physics-artefact"}
EPSILONS = (0.0, 0.02, 0.05, 0.1)
STRUCTURES = ("TC", "WT", "ET")
CHANNELS = ("all", "T1", "T2")


def results(
    patients: int = 8,
    networks: Sequence[str] = NETWORKS,
    structures: Sequence[str] = STRUCTURES,
    epsilons: Sequence[float] = EPSILONS,
    channels: Sequence[str] = CHANNELS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows as a store gives them: Dice falls with epsilon, less on one channel; the strongest miss structures."""
    random = np.random.default_rng(seed)
    found = []
    for strength, network in enumerate(networks):
        for patient in range(patients):
            for (name, attack), epsilon, where in ((x, y, z) for x in ATTACKS.items() for y in epsilons for z in channels):
                key = f"{network}/{patient}/{name}/{epsilon}/{where}"
                share = (1.0 if where == "all" else 0.4) * (0.3 if name == "Scanner" else 1.0)
                settings = {"attack": attack, "epsilon": epsilon, "seed": 7}
                for structure in structures:
                    before = float(random.uniform(0.85, 0.95))
                    after = max(0.0, before - share * 8 * epsilon / (1 + strength) + float(random.normal(0, 0.01)))
                    found.append(
                        {
                            **{"key": key, "network": network, "case": f"case-{patient:02d}", "patient": f"P{patient:02d}"},
                            **{"attack": name, "settings": settings, "budget": epsilon, "budget_name": "epsilon"},
                            **{"channels": where, "repeat": 0, "structure": structure, "success": after < 0.7 * before},
                            **{"dice_before": before, "dice_after": after, "dice_unwarped": math.nan},
                            **{"drop": (before - after) / before, "iou_before": 0.8, "iou_after": after / (2 - after)},
                            **{"hd95_before": 2.0, "hd95_after": math.inf if after == 0 else 3 / after},
                            **{"volume_before": 30.0, "volume_after": 20.0},
                        }
                    )
    return found


def channels_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each cell and channel."""
    cells = {row["key"]: row for row in rows}
    same = ("key", "network", "case", "patient", "attack", "settings", "budget", "budget_name", "channels", "repeat")
    numbers = dict.fromkeys(CHANNEL_COLUMNS[1:], 1.0)
    return [
        {**{x: row[x] for x in same}, **numbers, "channel": channel, "psnr": 40.0 - 100 * row["budget"]}
        for row in cells.values()
        for channel in CHANNELS[1:]
    ]


def checks(networks: Sequence[str] = NETWORKS) -> list[dict[str, Any]]:
    """Audits of which the second warns."""
    return [
        {
            **{"network": network, "check": check, "number": number, "sentence": f"{number:g} is what was found; {HOSTILE}."},
            "verdict": "warn" if n == 1 and check.startswith("More") else "pass" if number else "not applicable",
        }
        for n, network in enumerate(networks)
        for check, number in (("More steps do more", 0.12), ("A large budget ends it", 0.03), ("From another network", 0.0))
    ]


def audited(networks: Sequence[str] = NETWORKS) -> list[dict[str, Any]]:
    """Dice under plain and adaptive attacks."""
    return [
        {
            "network": x,
            "epsilon": e,
            "structure": s,
            "plain": 0.9 - 5 * e,
            "audited": 0.85 - 7 * e,
            "strongest": "i-FGSM, 40 steps",
        }
        for x in networks
        for e in EPSILONS
        for s in ("mean", *STRUCTURES)
    ]


def material(patients: int = 8, **changes: Any) -> Material:
    """A whole study with everything that can be in it."""
    rows = results(patients)
    account = Account(
        text=f"study: made-up\nnetworks:\n  a: {HOSTILE}\n",
        counts={("train", "done"): 2, ("attack", "done"): len(rows) // 3, ("attack", "failed"): 1, ("audit", "poisoned"): 1},
        failed=[
            Trouble("U-Net, case-01, FGSM", "case-01/T1.nii.gz holds NaN; mend it, or say what takes its place.", False),
            Trouble(f"audit of {HOSTILE}", "The worker died three times.", True),
        ],
        skipped=[Trouble("case-99", "there is no T2 among its files")],
        seeds=(0, 7),
        networks={"U-Net": "builtin:brain-tumour-phantom", "Distillation (T = 20)": "trained here", HOSTILE: "C:/x & y.pt"},
        attacks={name: {"attack": [x], "epsilon": ["0.02", "0.1"], "seed": ["7"]} for name, x in ATTACKS.items()},
        cases={f"P{n:02d}": [f"case-{n:02d}"] for n in range(patients)},
        versions={"SegAdversarial": ("1.0.0",), "torch": ("2.13.0", "2.12.1")},
        notes={"case-03: the network's answer is empty without an attack": 12},
        seconds=4000.0,
        synthetic=True,
    )
    found = {
        "results": Results(rows),
        "channels": channels_of(rows),
        "checks": checks(),
        "audited": audited(),
        "account": account,
    }
    return Material("made-up", **{**found, **changes})


class MadeUpStore:
    """A study's store with these results."""

    def __init__(self, rows: Sequence[dict[str, Any]], networks: Sequence[str] = NETWORKS) -> None:
        self._rows, self._networks = rows, networks

    def results(self) -> Iterator[dict[str, Any]]:
        """Fresh rows, as a store makes them."""
        return (dict(row) for row in self._rows)

    def channels(self) -> Iterator[dict[str, Any]]:
        """A row for each cell and channel."""
        return iter(channels_of(self._rows))

    def thresholds(self) -> Iterator[dict[str, Any]]:
        """None: nobody looked for a least budget."""
        return iter(())

    def traces(self) -> Iterator[dict[str, Any]]:
        """Ten iterations of every i-FGSM."""
        for row in {row["key"]: row for row in self._rows}.values():
            steps = range(11) if row["attack"] == "i-FGSM" else range(2)
            yield from ({**row, "iteration": n, "dice mean": row["dice_after"], "psnr": 50.0 - n} for n in steps)

    def audited(self) -> Iterator[dict[str, Any]]:
        """Audits of all networks."""
        return iter(audited(self._networks))

    def checks(self) -> Iterator[dict[str, Any]]:
        """Audits of all networks."""
        return iter(checks(self._networks))

    def cells(self) -> Iterator[dict[str, Any]]:
        """A cell for each key, one that failed and one that was given up."""
        cells = {row["key"]: row for row in self._rows}
        done = {"kind": "attack", "state": "done", "error": "", "seconds": 2.0, "notes": [], "kept": []}
        done["versions"] = {"torch": "2.13.0"}
        yield from ({**row, **done} for row in cells.values())
        first = next(iter(cells.values()))
        yield {**first, **done, "state": "failed", "error": f"{HOSTILE}.nii.gz holds NaN."}
        yield {**first, **done, "kind": "audit", "state": "poisoned", "error": "The worker died three times."}

    def planned(self) -> Iterator[Cell]:
        """None whose images could be read."""
        return iter(())

    def cell(self, key: str) -> Cell:
        """None is asked for: no volumes are kept."""
        raise KeyError(key)

    def skipped(self) -> dict[str, str]:
        """One case."""
        return {"case-99": "there is no T2 among its files"}

    def notes(self) -> list[str]:
        """One."""
        return ["U-Net learns from 2 of the cases that it is attacked on."]


class MadeUpStudy:
    """What a report reads of a study."""

    study, description, paper = f"made up {HOSTILE}", "What happens & why.", None
    networks = {name: f"builtin:{name}" for name in NETWORKS}
    cohort = SimpleNamespace(cohort="phantom:0-7@24")
