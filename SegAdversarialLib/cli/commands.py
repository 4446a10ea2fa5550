"""What the commands do that make one job each."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from SegAdversarialLib.arguments import nearest
from SegAdversarialLib.attacks import ATTACKS, GROUPS, Attack, attack_class, make_attack
from SegAdversarialLib.cli.cohort import show_cohort
from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.cli.making import case_of, cases_of, made, model_of, regions_of, run_job
from SegAdversarialLib.cli.pairs import key_values, settings_of
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.jobs.specification import (
    AttackJob,
    EvaluateJob,
    LearnUniversalJob,
    PhantomJob,
    SegmentJob,
    TrainGeneratorJob,
    read_job,
)
from SegAdversarialLib.jobs.word_on_trust import in_users_word

_GENERATOR = "generator."
"""What the settings of what is trained, not of training it, start with."""


def demo(options: argparse.Namespace, console: Console) -> None:
    """Every attack of the papers on one phantom, with table, scene and pictures."""
    size = (options.size,) * 3
    cheng = {"attack": "universal-random-perturbation"}
    channels = ("T1", "T1ce", "T2", "FLAIR")
    output = Path(options.output)
    job = made(
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
    run_job(job, console)


def phantom(options: argparse.Namespace, console: Console) -> None:
    """Write synthetic subjects."""
    run_job(made(PhantomJob, output=options.output, seeds=tuple(options.seed or (7,)), shape=options.size), console)


def segment(options: argparse.Namespace, console: Console) -> None:
    """Segment a case."""
    common = {"output": options.output, "overwrite": options.overwrite}
    run_job(made(SegmentJob, case=case_of(options), model=model_of(options), **common), console)


def attack(options: argparse.Namespace, console: Console) -> None:
    """Attack a case."""
    job = made(
        AttackJob,
        output=options.output,
        case=case_of(options),
        model=model_of(options),
        attacks=_attacks(options.attack, options.set),
        each_channel=options.each_channel,
        regions=regions_of(options),
        scene=options.scene,
        pictures=options.pictures,
        overwrite=options.overwrite,
    )
    run_job(job, console)


def evaluate(options: argparse.Namespace, console: Console) -> None:
    """Measure any change of a case's images."""
    job = made(
        EvaluateJob,
        output=options.output,
        case=case_of(options),
        model=model_of(options),
        adversarial=key_values(options.adversarial, "NAME=FILE"),
        regions=regions_of(options),
        overwrite=options.overwrite,
    )
    run_job(job, console)


def cohort(options: argparse.Namespace, console: Console) -> None:
    """List the cases of a cohort."""
    from SegAdversarialLib.formats.source import open_source

    options.rename = key_values(options.rename, "CHANNEL=NAME")
    options.label_names = key_values(options.label_names, "LABEL=NAME", last=True)
    show_cohort(options, console, open_source(model_of(options)) if options.model is not None else None)


def learn_universal(options: argparse.Namespace, console: Console) -> None:
    """Learn a universal perturbation."""
    job = made(
        LearnUniversalJob,
        output=options.output,
        model=model_of(options),
        cases=cases_of(options),
        settings=settings_of(options.set, "SETTING=VALUE"),
        overwrite=options.overwrite,
    )
    run_job(job, console)


def train_generator(options: argparse.Namespace, console: Console) -> None:
    """Train a generator of adversarial images."""
    given = settings_of(options.set, "SETTING=VALUE")
    job = made(
        TrainGeneratorJob,
        output=options.output,
        model=model_of(options),
        cases=cases_of(options),
        settings={key: value for key, value in given.items() if not key.startswith(_GENERATOR)},
        generator={key.removeprefix(_GENERATOR): value for key, value in given.items() if key.startswith(_GENERATOR)},
        start=options.start,
    )
    run_job(job, console)


def run(options: argparse.Namespace, console: Console) -> None:
    """Run a job from its file."""
    job = in_users_word(read_job(options.specification), options.trust)
    if options.overwrite and not hasattr(job, "overwrite"):
        raise InputError(f"A job of the kind {job.kind} does not overwrite; leave --overwrite out.")
    run_job(job.model_copy(update={"overwrite": True}) if options.overwrite else job, console)


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
            known = sorted({name for n in owners for name in classes[n].model_fields})
            told = nearest(field, known) if known else "; the attack is not chosen."
            raise InputError(f"No chosen attack has the setting {key}{told}")
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
