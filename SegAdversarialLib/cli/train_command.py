"""What `segadversarial train` does."""

from __future__ import annotations

import argparse
from typing import Any

from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.cli.making import json_object, made, run_job, source_of
from SegAdversarialLib.cli.pairs import key_values, labels_by_name, settings_of
from SegAdversarialLib.cohorts import Cohort, Entry, find
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.jobs.train_job import TrainJob
from SegAdversarialLib.training.architecture import USUAL


def train(options: argparse.Namespace, console: Console) -> None:
    """Train a segmentation network."""
    given = settings_of(options.set, "SETTING=VALUE")
    if options.epochs is not None:
        if "epochs" in given:
            raise InputError("epochs is given twice; give it once.")
        given["epochs"] = options.epochs
    cases, validation = _cohorts(options, given.get("seed", 0))
    usual = dict(USUAL) if options.network == "UNet" else {}
    job = made(
        TrainJob,
        output=options.output,
        network={"name": options.network, "arguments": {**usual, **_part(given, "network.")}},
        described=_described(options),
        recipe={"recipe": options.recipe, **_part(given, "recipe.")},
        cases=tuple(source_of(x, options.n4) for x in cases.entries),
        validation=tuple(source_of(x, options.n4) for x in validation),
        settings={key: value for key, value in given.items() if not key.startswith(("network.", "recipe."))},
        device=options.device,
    )
    run_job(job, console)


def _described(options: argparse.Namespace) -> dict[str, Any]:
    """What is said of the network that is trained."""
    classes = key_values(options.classes.split(","), "LABEL=NAME,LABEL=NAME") if options.classes is not None else None
    described = {
        "channels": options.channels.split(",") if options.channels else None,
        "classes": classes,
        "stands_for": labels_by_name(key_values(options.stands_for or [], "CLASS=LABEL,LABEL"), "--stands-for") or None,
        "head": options.head,
        "preprocessing": json_object(options.preprocessing, "--preprocessing"),
        "window": options.window,
    }
    return {name: value for name, value in described.items() if value is not None}


def _cohorts(options: argparse.Namespace, seed: int) -> tuple[Cohort, tuple[Entry, ...]]:
    """The cases to learn from, and those to validate on: other patients'."""
    cases = find(options.cohort)
    if options.validation is not None:
        return cases, find(options.validation).entries
    if not options.validation_share or len(cases.patients) < 2:
        return cases, ()
    training, validating = cases.split(options.validation_share, seed)
    return training, validating.entries


def _part(given: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The settings of what a prefix names."""
    return {key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)}
