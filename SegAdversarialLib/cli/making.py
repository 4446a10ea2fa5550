"""Jobs from the command line's words: what all commands share."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.cli.pairs import key_values, labels_by_name, settings_of
from SegAdversarialLib.errors import InputError, first_problem, most_precise
from SegAdversarialLib.formats.settings import ModelSettings
from SegAdversarialLib.formats.source import ModelSource
from SegAdversarialLib.jobs.sources import CaseSource, PhantomSource

if TYPE_CHECKING:
    from SegAdversarialLib.cohorts import Entry
    from SegAdversarialLib.jobs.specification import AnyJob

Settings = TypeVar("Settings", bound=BaseModel)


def made(cls: type[Settings], **values: Any) -> Settings:
    """A job, or a part of one, from what was given.

    Raises:
        InputError: it does not fit.
    """
    try:
        return cls(**values)
    except ValidationError as error:
        raise InputError(first_problem(error)) from None


def run_job(job: AnyJob, console: Console) -> None:
    """Run a job with its scene and pictures, and print its table."""
    from SegAdversarialLib.cli.display import Display
    from SegAdversarialLib.cli.readable import columns
    from SegAdversarialLib.cli.result_table import result_table
    from SegAdversarialLib.jobs.running import run

    display = Display(job, console) if getattr(job, "scene", None) or getattr(job, "pictures", False) else None
    try:
        rows = run(job, console.emit, observe=display.show if display else None)
    finally:  # what was finished before an error or Ctrl-C goes into the scene, too
        if display is not None:
            display.finish()
    console.say("\n" + result_table(rows, columns()))
    console.say(f"\nWritten to {job.output}")


def cases_of(options: argparse.Namespace) -> list[Any]:
    """The cases that a command names."""
    cases: list[Any] = [{"phantom": {"seed": seed, "shape": options.phantom_size}} for seed in options.phantom or ()]
    cases += [json_object(_text_of(path), f"The case file {path}") for path in options.case or ()]
    if options.cohort:
        from SegAdversarialLib.cohorts import find

        cases += [source_of(entry) for name in options.cohort for entry in find(name).entries]
    if not cases:
        raise InputError("There is no case; give some with --cohort, --case or --phantom.")
    return cases


def source_of(entry: Entry, n4: bool = False) -> CaseSource:
    """A case of a cohort, as jobs name cases."""
    if entry.problem:
        raise InputError(f"{entry.name}: {entry.problem}.")
    if entry.phantom is not None:
        return made(CaseSource, phantom=entry.phantom.model_dump(), n4=n4)
    kept = ("channels", "label", "name", "resample", "replace_nonfinite", "prefer")
    names = entry.label_names if entry.label is not None else {}
    return made(CaseSource, **{name: getattr(entry, name) for name in kept}, label_names=names, n4=n4)


def case_of(options: argparse.Namespace) -> CaseSource:
    """The case that a command names."""
    phantom_source = None
    if options.phantom is not None:
        phantom_source = made(PhantomSource, seed=options.phantom, shape=options.phantom_size)
    return made(
        CaseSource,
        channels=key_values(options.channel, "NAME=FILE"),
        label=options.label,
        label_names=key_values(options.label_names, "SEGMENT=CLASS", last=True),
        name=options.name,
        resample=options.resample,
        replace_nonfinite=options.replace_nonfinite,
        prefer=options.prefer,
        n4=options.n4,
        phantom=phantom_source,
    )


def _switches(words: list[str] | None) -> dict[str, Any] | None:
    """["compiled", "mixed_precision=float16"] as {"compiled": True, "mixed_precision": "float16"}."""
    if not words:
        return None
    pairs = [word if "=" in word else f"{word}=true" for word in words]
    return settings_of(pairs, "SWITCH=VALUE")


def model_of(options: argparse.Namespace) -> ModelSource:
    """The network that a command names."""
    changes: dict[str, Any] = {
        "network": json_object(options.architecture, "--architecture"),
        "weights_within": options.weights_within,
        "channels": options.model_channels.split(",") if options.model_channels is not None else None,
        "classes": _classes(options),
        "stands_for": labels_by_name(key_values(options.stands_for or [], "CLASS=LABEL,LABEL"), "--stands-for") or None,
        "head": options.head,
        "threshold": options.threshold,
        "preprocessing": json_object(options.preprocessing or None, "--preprocessing"),
        "window": options.window,
        "overlap": options.overlap,
        "mirror": options.mirror,
        "blending": options.blending,
        "size_multiple": options.size_multiple,
        "window_batch": options.window_batch,
        "outputs": options.model_outputs,
        "output": _place_or_name(options.model_output),
        "in_place": options.in_place,
        "allow_random": options.allow_random or None,
        "acceleration": _switches(options.accelerate),
    }
    given = {key: value for key, value in changes.items() if value is not None}
    _check_given(given)
    return made(
        ModelSource,
        path=options.model,
        trust=options.trust,
        device=options.device,
        settings=options.model_settings,
        changes=given,
    )


_OPTIONS = {
    **{"network": "--architecture", "channels": "--model-channels", "outputs": "--model-outputs", "output": "--model-output"},
    "acceleration": "--accelerate",
}
"""The options whose names are not those of the settings that they are."""


def _check_given(changes: dict[str, Any]) -> None:
    """Refuse what no network could have, by the name of the option that says it.

    Raises:
        InputError: it is so.
    """
    try:
        ModelSettings.model_validate(changes)
    except ValidationError as error:
        setting = str(most_precise(error.errors())["loc"][0])
        option = _OPTIONS.get(setting, f"--{setting.replace('_', '-')}")
        problem = first_problem(error, ModelSettings).removeprefix(f"{setting}: ").removeprefix(f"{setting}.")
        raise InputError(f"{option}: {problem.replace(f'no setting {setting}.', 'no setting ')}") from None


def regions_of(options: argparse.Namespace) -> dict[str, list[int]] | None:
    """The structures that a command names to be measured; None: the usual ones."""
    return labels_by_name(key_values(options.regions, "NAME=LABEL,LABEL"), "--regions") if options.regions else None


def _classes(options: argparse.Namespace) -> dict[str, str] | None:
    return key_values(options.classes.split(","), "LABEL=NAME,LABEL=NAME") if options.classes is not None else None


def json_object(text: str | None, option: str) -> dict[str, Any] | None:
    """A JSON object that a command line gives; None: it gives none.

    Raises:
        InputError: it is none.
    """
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        example = """such as '{"name": "value"}', in single quotes so that the shell leaves it whole"""
        raise InputError(f"{option} is no JSON ({error}); give an object in braces, {example}.") from None
    if not isinstance(found, dict):
        raise InputError(f"{option} must be a JSON object in braces.")
    return found


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"The file {path} cannot be read ({error.strerror or error}); check the path.") from None
    except ValueError:
        raise InputError(f"The file {path} is no text; give a JSON file.") from None


def _place_or_name(text: str | None) -> int | str | None:
    """Which output of a network is meant: its place where that is a whole number, else its name."""
    return int(text) if text is not None and text.removeprefix("-").isdecimal() else text
