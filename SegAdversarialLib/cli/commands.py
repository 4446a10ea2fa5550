"""What each command does."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from SegAdversarialLib.attacks import ATTACKS, GROUPS, Attack, attack_class, make_attack
from SegAdversarialLib.cli import info
from SegAdversarialLib.cli.arguments import key_values, labels_by_name, settings_of
from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.cli.listing import list_attacks
from SegAdversarialLib.cli.recipes import list_recipes
from SegAdversarialLib.errors import InputError, first_problem
from SegAdversarialLib.jobs.sources import CaseSource, ModelSource, PhantomSource
from SegAdversarialLib.jobs.specification import (
    AnyJob,
    AttackJob,
    EvaluateJob,
    LearnUniversalJob,
    PhantomJob,
    SegmentJob,
    TrainGeneratorJob,
    read_job,
)

Settings = TypeVar("Settings", bound=BaseModel)

_GENERATOR = "generator."
"""What the settings of what is trained, not of training it, start with."""


def demo(options: argparse.Namespace, console: Console) -> None:
    """Every attack of the papers on one phantom, with table, scene and pictures."""
    size = (options.size,) * 3
    cheng = {"attack": "universal-random-perturbation"}
    channels = ("T1", "T1ce", "T2", "FLAIR")
    output = Path(options.output)
    job = _made(
        AttackJob,
        output=str(output),
        model={"device": options.device},
        case={"phantom": {"seed": options.seed, "shape": size}},
        attacks=(
            *({**cheng, "channels": (channel,)} for channel in channels),
            cheng,
            {"attack": "fgsm"},
            {"attack": "ifgsm", "snapshot_every": 2},
            {"attack": "tifgsm"},
            {"attack": "pgd", "snapshot_every": 5},
        ),
        scene=str(output / "scene.mrb"),
        pictures=True,
        overwrite=options.overwrite,
    )
    console.say(f"A synthetic subject (seed {options.seed}, {options.size}^3 voxels) against the built-in network.")
    _run(job, console)


def phantom(options: argparse.Namespace, console: Console) -> None:
    """Write synthetic subjects."""
    _run(_made(PhantomJob, output=options.output, seeds=tuple(options.seed or (7,)), shape=options.size), console)


def segment(options: argparse.Namespace, console: Console) -> None:
    """Segment a case."""
    common = {"output": options.output, "overwrite": options.overwrite}
    _run(_made(SegmentJob, case=_case(options), model=_model(options), **common), console)


def attack(options: argparse.Namespace, console: Console) -> None:
    """Attack a case."""
    job = _made(
        AttackJob,
        output=options.output,
        case=_case(options),
        model=_model(options),
        attacks=_attacks(options.attack, options.set),
        each_channel=options.each_channel,
        regions=_regions(options),
        scene=options.scene,
        pictures=options.pictures,
        overwrite=options.overwrite,
    )
    _run(job, console)


def evaluate(options: argparse.Namespace, console: Console) -> None:
    """Measure any change of a case's images."""
    job = _made(
        EvaluateJob,
        output=options.output,
        case=_case(options),
        model=_model(options),
        adversarial=key_values(options.adversarial, "NAME=FILE"),
        regions=_regions(options),
        overwrite=options.overwrite,
    )
    _run(job, console)


def learn_universal(options: argparse.Namespace, console: Console) -> None:
    """Learn a universal perturbation."""
    job = _made(
        LearnUniversalJob,
        output=options.output,
        model=_model(options),
        cases=_cases(options),
        settings=settings_of(options.set, "SETTING=VALUE"),
        overwrite=options.overwrite,
    )
    _run(job, console)


def train_generator(options: argparse.Namespace, console: Console) -> None:
    """Train a generator of adversarial images."""
    given = settings_of(options.set, "SETTING=VALUE")
    job = _made(
        TrainGeneratorJob,
        output=options.output,
        model=_model(options),
        cases=_cases(options),
        settings={key: value for key, value in given.items() if not key.startswith(_GENERATOR)},
        generator={key.removeprefix(_GENERATOR): value for key, value in given.items() if key.startswith(_GENERATOR)},
        start=options.start,
    )
    _run(job, console)


def run_file(options: argparse.Namespace, console: Console) -> None:
    """Run a job from its file."""
    job = read_job(options.specification)
    if options.overwrite and not hasattr(job, "overwrite"):
        raise InputError(f"A job of the kind {job.kind} does not overwrite; leave --overwrite out.")
    _run(job.model_copy(update={"overwrite": True}) if options.overwrite else job, console)


def show_info(options: argparse.Namespace, console: Console) -> None:
    """Versions and devices, what a network is, or what can be set."""
    options.model = options.model or options.network
    if options.model is not None:
        info.show_network(_model(options), console)
    elif options.preprocessing is not None:
        info.show_preprocessing(console)
    else:
        info.show_installation(console)


COMMANDS: dict[str, Callable[[argparse.Namespace, Console], None]] = {
    "demo": demo,
    "phantom": phantom,
    "segment": segment,
    "attack": attack,
    "evaluate": evaluate,
    "learn-universal": learn_universal,
    "train-generator": train_generator,
    "attacks": list_attacks,
    "recipes": list_recipes,
    "run": run_file,
    "info": show_info,
}


def _run(job: AnyJob, console: Console) -> None:
    """Run a job with its scene and pictures, and print its table."""
    from SegAdversarialLib.cli.display import Display
    from SegAdversarialLib.evaluation.tables import format_table
    from SegAdversarialLib.jobs.running import run

    display = Display(job, console) if isinstance(job, AttackJob) and (job.scene or job.pictures) else None
    try:
        rows = run(job, console.emit, observe=display.show if display else None)
    finally:  # what was finished before an error or Ctrl-C goes into the scene, too
        if display is not None:
            display.finish()
    console.say("\n" + format_table(rows))
    console.say(f"\nWritten to {job.output}")


def _cases(options: argparse.Namespace) -> list[Any]:
    cases: list[Any] = [{"phantom": {"seed": seed, "shape": options.phantom_size}} for seed in options.phantom or ()]
    return cases + [_json_object(_text_of(path), f"The case file {path}") for path in options.case or ()]


def _case(options: argparse.Namespace) -> CaseSource:
    phantom_source = None
    if options.phantom is not None:
        phantom_source = _made(PhantomSource, seed=options.phantom, shape=options.phantom_size)
    return _made(
        CaseSource,
        channels=key_values(options.channel, "NAME=FILE"),
        label=options.label,
        label_names=key_values(options.label_names, "SEGMENT=CLASS", last=True),
        name=options.name,
        resample=options.resample,
        replace_nonfinite=options.replace_nonfinite,
        prefer=options.prefer,
        phantom=phantom_source,
    )


def _switches(words: list[str] | None) -> dict[str, Any] | None:
    """["compiled", "mixed_precision=float16"] as {"compiled": True, "mixed_precision": "float16"}."""
    if not words:
        return None
    pairs = [word if "=" in word else f"{word}=true" for word in words]
    return settings_of(pairs, "SWITCH=VALUE")


def _model(options: argparse.Namespace) -> ModelSource:
    changes: dict[str, Any] = {
        "channels": options.model_channels.split(",") if options.model_channels else None,
        "classes": _classes(options),
        "stands_for": labels_by_name(key_values(options.stands_for or [], "CLASS=LABEL,LABEL"), "--stands-for") or None,
        "head": options.head,
        "preprocessing": _json_object(options.preprocessing or None, "--preprocessing"),
        "window": options.window,
        "overlap": options.overlap,
        "size_multiple": options.size_multiple,
        "window_batch": options.window_batch,
        "acceleration": _switches(options.accelerate),
    }
    return _made(
        ModelSource,
        path=options.model,
        trust=options.trust,
        device=options.device,
        settings=options.model_settings,
        changes={key: value for key, value in changes.items() if value is not None},
    )


def _regions(options: argparse.Namespace) -> dict[str, list[int]] | None:
    return labels_by_name(key_values(options.regions, "NAME=LABEL,LABEL"), "--regions") if options.regions else None


def _classes(options: argparse.Namespace) -> dict[str, str] | None:
    return key_values(options.classes.split(","), "LABEL=NAME,LABEL=NAME") if options.classes is not None else None


def _json_object(text: str | None, option: str) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"{option} is no JSON ({error}).") from None
    if not isinstance(found, dict):
        raise InputError(f"{option} must be a JSON object in braces.")
    return found


def _text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"The file {path} cannot be read ({error}); check the path.") from None


def _attacks(names: list[str], settings: list[str]) -> tuple[dict[str, Any], ...]:
    """The configurations of the named attacks; a plain setting goes to every one of them that has it."""
    given = settings_of(settings, "SETTING=VALUE")
    able = [cls for cls in ATTACKS.values() if not cls.needs or {cls.needs, f"{cls.name}.{cls.needs}"} & set(given)]
    classes = _chosen(names, able)
    configured: list[dict[str, Any]] = [{"attack": cls.name} for cls in classes]
    for key, value in given.items():
        owner, dot, field = key.rpartition(".")
        owners = [n for n, cls in enumerate(classes) if not dot or cls is attack_class(owner)]
        takers = [n for n in owners if field in classes[n].model_fields]
        if field == "epsilon" and not dot and len(takers) > 1:  # 0.05 of the range is no 0.05 scanner units
            takers = [n for n in takers if _is_relative(classes[n])] or takers
        if not takers:
            known = ", ".join(sorted({name for n in owners for name in classes[n].model_fields}))
            raise InputError(f"No chosen attack has the setting {key}; they have {known or 'none: the attack is not chosen'}.")
        for n in takers:
            configured[n][field] = value
    for configuration in configured:
        make_attack(configuration["attack"], {key: x for key, x in configuration.items() if key != "attack"})
    return tuple(configured)


def _chosen(names: list[str], able: list[type[Attack]]) -> list[type[Attack]]:
    """The attacks that names mean: "all" and groups those that can run as they are set, each once."""
    classes: list[type[Attack]] = []
    for name in names:
        several = able if name == "all" else GROUPS.get(name)
        if several is None:
            classes.append(attack_class(name))
        else:
            classes += [cls for cls in several if cls in able and cls not in classes]
    return classes


def _is_relative(cls: type[Attack]) -> bool:
    """Whether an attack's epsilon is, unless told otherwise, a fraction of the largest intensity."""
    units = cls.model_fields.get("epsilon_units")
    return units is None or units.default == "relative"


def _made(cls: type[Settings], **values: Any) -> Settings:
    try:
        return cls(**values)
    except ValidationError as error:
        raise InputError(first_problem(error)) from None
