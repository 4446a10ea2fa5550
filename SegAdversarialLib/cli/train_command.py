"""What `segadversarial train` makes of its words."""

from __future__ import annotations

import argparse
from typing import Any

from SegAdversarialLib.cli.arguments import key_values, labels_by_name, settings_of
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.jobs.sources import CaseSource
from SegAdversarialLib.jobs.subject_folders import subjects_in
from SegAdversarialLib.jobs.train_job import USUAL

_FIRST_PHANTOM = 1000
"""Seeds from here on: those below are for trying things out, and the built-in network's tests."""


def train_values(options: argparse.Namespace, preprocessing: dict[str, Any] | None) -> dict[str, Any]:
    """What the job says.

    Raises:
        InputError: there are no cases, or a word is wrong.
    """
    given = settings_of(options.set, "SETTING=VALUE")
    if options.epochs is not None:
        if "epochs" in given:
            raise InputError("epochs is given twice; give it once.")
        given["epochs"] = options.epochs
    cases, validation = _cases(options)
    classes = key_values(options.classes.split(","), "LABEL=NAME,LABEL=NAME") if options.classes is not None else None
    described = {
        "channels": options.channels.split(",") if options.channels else None,
        "classes": classes,
        "stands_for": labels_by_name(key_values(options.stands_for or [], "CLASS=LABEL,LABEL"), "--stands-for") or None,
        "head": options.head,
        "preprocessing": preprocessing,
        "window": options.window,
    }
    usual = dict(USUAL) if options.network == "UNet" else {}
    return {
        "output": options.output,
        "network": {"name": options.network, "arguments": {**usual, **_part(given, "network.")}},
        "described": {name: value for name, value in described.items() if value is not None},
        "recipe": {"recipe": options.recipe, **_part(given, "recipe.")},
        "cases": cases,
        "validation": validation,
        "settings": {key: value for key, value in given.items() if not key.startswith(("network.", "recipe."))},
        "device": options.device,
    }


def _cases(options: argparse.Namespace) -> tuple[list[CaseSource], list[CaseSource]]:
    """The cases to learn from, and those to validate on."""
    found = [case for folder in options.cases for case in subjects_in(folder)]
    for seed in range(_FIRST_PHANTOM, _FIRST_PHANTOM + (options.phantoms or 0)):
        found.append(CaseSource.model_validate({"phantom": {"seed": seed, "shape": options.shape}}))
    if not found:
        raise InputError("There are no cases to train on; give a folder of subjects (--cases) or some phantoms (--phantoms).")
    found = [case.model_copy(update={"n4": options.n4}) for case in found]
    if options.validation is not None:
        return found, [case.model_copy(update={"n4": options.n4}) for case in subjects_in(options.validation)]
    if not 0 <= options.validation_share < 1:
        raise InputError(
            f"The share of cases to validate on must be at least 0 and below 1; it is {options.validation_share}."
        )
    count = min(round(options.validation_share * len(found)), len(found) - 1)
    return found[: len(found) - count], found[len(found) - count :]


def _part(given: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}
