"""Tiny studies for the tests: a small network in files, small cases, and cells that misbehave."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from SegAdversarialLib.studies.records import Cell, Outcome

NETWORK = {
    "name": "UNet",
    "arguments": {"channels": [4, 8], "strides": [2], "norm": "instance", "bias": False},
}


def write_cases(folder: Path, count: int = 2, shape: tuple[int, int, int] = (8, 10, 12)) -> list[dict[str, Any]]:
    """Cases in files, and the entries that name them, as JSON data."""
    from training_helpers import CLASSES, block

    from SegAdversarialLib.cohorts.entry import Entry

    found = []
    for n in range(count):
        case = block(n, shape)
        written = case.write(folder / case.name)
        label = written.pop("label", None) or written.pop("segmentation")
        entry = Entry(
            name=case.name,
            patient=f"patient-{n}",
            channels={name: str(path) for name, path in written.items()},
            label=str(label),
            label_names={str(value): name for value, name in CLASSES.items()},
        )
        found.append(entry.model_dump(mode="json"))
    return found


def write_network(folder: Path, seed: int = 0) -> dict[str, Any]:
    """A network that was trained for one epoch, in files, and what a cell says to open it."""
    from training_helpers import trained

    trained({"epochs": 1, "seed": seed}, folder=folder)
    return {"path": str(folder / "model.json"), "device": "cpu"}


def attack_cell(model: Any, entry: dict[str, Any], **changes: Any) -> Cell:
    """FGSM on a case."""
    settings = {"attack": "fgsm", "epsilon": 0.1, **changes.pop("settings", {})}
    given = {"network": "unet", "attack": "FGSM", "case": entry["name"], "patient": entry["patient"], **changes}
    work = {"model": model, "case": entry, "regions": None, **given.pop("work", {})}
    return Cell(kind="attack", settings=settings, work=work, **given)


def plain_cell(name: str, **settings: Any) -> Cell:
    """A cell for `misbehaved`, which reads nothing."""
    needs = tuple(settings.pop("needs", ()))
    kind = settings.pop("kind", "attack")
    work = {"folder": f"networks/{name}"} if kind == "train" else {}
    return Cell(kind=kind, network="n", case=name, attack="a", settings=settings, work=work, needs=needs)


def misbehaved(cell: Cell, folder: str, **options: Any) -> Outcome:
    """Stands in for `do_cell` in a worker, and does what the cell's settings say; each try leaves a letter in a file."""
    how = cell.settings
    with open(Path(folder) / f"tries-{cell.case}", "a", encoding="utf-8") as file:
        file.write("x")
    time.sleep(how.get("seconds", 0.0))
    if how.get("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    if how.get("wrong"):
        from SegAdversarialLib.errors import InputError

        raise InputError(how["wrong"])
    if how.get("broken"):
        raise RuntimeError(how["broken"])
    return Outcome(structures=[{"structure": "S", "dice_after": how.get("dice", 0.5)}], seconds=how.get("seconds", 0.0))


def tries(folder: Path, name: str) -> int:
    """How often a cell was begun."""
    path = folder / f"tries-{name}"
    return len(path.read_text(encoding="utf-8")) if path.exists() else 0
