"""The command line's words. Nothing heavy is imported here, so that --help answers at once."""

from __future__ import annotations

import argparse
from typing import Any

from SegAdversarialLib import __version__
from SegAdversarialLib.cli.defense_arguments import add_audit, add_certify
from SegAdversarialLib.cli.model_arguments import add_models
from SegAdversarialLib.cli.parser import Parser, seed, sizes
from SegAdversarialLib.cli.shared_arguments import (
    add_case,
    add_device,
    add_learning,
    add_model,
    add_output,
    add_overwrite,
    add_regions,
)
from SegAdversarialLib.cli.study_arguments import add_study
from SegAdversarialLib.cli.train_arguments import add_train
from SegAdversarialLib.cli.trust_arguments import add_trust

_EPILOG = """examples:
  segadversarial demo --output demo-results
  segadversarial attack --channel T1=t1.nii.gz --channel T1ce=t1ce.nii.gz --channel T2=t2.nii.gz \\
      --channel FLAIR=flair.nii.gz --label seg.nii.gz --attack fgsm --set epsilon=0.05 \\
      --output results --scene results/scene.mrb
  segadversarial attacks pgd
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="segadversarial",
        description="Attack medical segmentation networks on whole multi-modal volumes, and measure what that does.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"SegAdversarial {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _add_demo(_command(commands, "demo", "Attack the built-in network on a synthetic subject in every way."))

    _add_phantom(_command(commands, "phantom", "Write synthetic brain-tumour subjects as image files."))
    _add_cohort(_command(commands, "cohort", "List the cases of a cohort, and what is wrong with which."))

    segment = _command(commands, "segment", "Segment a case.")
    add_case(segment)
    add_model(segment)
    add_output(segment)

    _add_attack(_command(commands, "attack", "Attack a case and measure what that does."))

    _add_evaluate(_command(commands, "evaluate", "Measure what any change of a case's images does to a network's answer."))

    about = "Certify what no attack within a radius can change of a network's answer for a case."
    add_certify(_command(commands, "certify", about))

    _add_learners(commands)

    about = "Find out whether a network's robustness is real: adaptive attacks, checks, worst-case Dice."
    add_audit(_command(commands, "audit", about))

    about = "Attack many networks with many attacks on a cohort: plan, run, resume, look at, report, export."
    add_study(commands.add_parser("study", help=about))

    _add_list(commands, "attack", "List the attacks, or all about one: settings, units, bounds.", " or the group to list")
    _add_list(commands, "recipe", "List the ways to train a network, or all about one: settings, units, bounds.")

    runner = _command(commands, "run", "Run a job from its JSON specification.")
    runner.add_argument("specification", help="JSON file, such as the job.json in a folder of results")
    runner.add_argument("--trust", action="store_true", help="open the programs that it names: you trust their source")
    add_overwrite(runner)

    about = "For programs: take requests and give events as JSON lines until the input ends (see jobs/worker.py)."
    commands.add_parser("worker", help=about, description=about)

    _add_information(commands)
    return parser


def _add_information(commands: Any) -> None:
    """The commands about networks' files."""
    about = "Networks that others trained, fetched by name: list, get, remove."
    add_models(_command(commands, "models", about))

    about = "Which networks that are programs open without being asked about: remember, list, forget."
    add_trust(_command(commands, "trust", about))

    info = _command(commands, "info", "Versions, devices and built-in networks, or all about one network.")
    info.add_argument("network", nargs="?", metavar="FILE", help="the network, as --model")
    add_model(info, default=None, explains=True)

    about = "Write a network as safetensors and model.json, which open to the same bits and cannot run anything."
    export = _command(commands, "export", about)
    export.add_argument("network", metavar="FILE", help="the network, as --model of other commands")
    export.add_argument("folder", metavar="FOLDER", help="where; it must not be there yet, or be empty")
    add_model(export, default=None)


def _add_learners(commands: Any) -> None:
    """The commands that learn from many cases."""
    about = "Learn one perturbation for all cases of a grid (universal-perturbation)."
    learning = _command(commands, "learn-universal", about)
    add_learning(learning)
    add_overwrite(learning)

    about = "Train a generator of adversarial images against a network (generative)."
    training = _command(commands, "train-generator", about)
    add_learning(training)
    training.add_argument("--start", metavar="FILE", help="an earlier generator to go on from")

    about = "Train a segmentation network, as usual or to hold against attacks."
    add_train(_command(commands, "train", about))


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--events", action="store_true", help="print JSON lines (events) instead of text and progress bars")
    return parser


def _add_list(commands: Any, noun: str, about: str, also: str = "") -> None:
    listing = _command(commands, f"{noun}s", about)
    listing.add_argument(noun, nargs="?", metavar="NAME", help=f"the {noun} to explain{',' if also else ''}{also}")
    listing.add_argument("--json", action="store_true", help="as JSON schemas, for programs")


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", default="demo-results", help="folder for the results (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=7, help="which synthetic subject (default: %(default)s)")
    parser.add_argument("--size", type=int, default=64, help="its size in voxels along each axis (default: %(default)s)")
    add_overwrite(parser)
    add_device(parser)


def _add_phantom(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, help="folder; each subject gets one of its own in it")
    parser.add_argument("--seed", type=seed, action="append", help="which subject (repeatable; default: 7)")
    parser.add_argument("--size", type=sizes, default=(64, 64, 64), metavar="N[,N,N]", help="slices, rows, columns (64)")


def _add_attack(parser: argparse.ArgumentParser) -> None:
    add_case(parser)
    add_model(parser)
    group = parser.add_argument_group("the attack")
    group.add_argument(
        "--attack",
        action="append",
        required=True,
        metavar="NAME",
        help='see "attacks" (repeatable); or several: a group (paper, gradient, realistic, random, black-box), or all',
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="[ATTACK.]SETTING=VALUE",
        help='a setting of the attacks, or of one of them: "pgd.steps=40" (repeatable)',
    )
    group.add_argument("--each-channel", action="store_true", help="also run every attack on each single channel")
    add_regions(group)
    add_output(group)
    group.add_argument("--scene", metavar="FILE.mrb", help="also write a scene for 3D Slicer")
    group.add_argument("--pictures", action="store_true", help="also write pictures of Slicer's slice views")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    add_case(parser)
    add_model(parser)
    parser.add_argument(
        "--adversarial",
        action="append",
        required=True,
        metavar="NAME=FILE",
        help="the changed image of a channel (repeatable); channels left out are unchanged",
    )
    add_regions(parser)
    add_output(parser)


def _add_cohort(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "cohort",
        metavar="COHORT",
        help="a folder or CSV file, or one with its layout before it: brats:FOLDER, msd:FOLDER, nnunet:FOLDER, "
        "pictures:FOLDER, results:FOLDER, folders:FOLDER, csv:FILE; or synthetic subjects: phantom:32, phantom:0-31@48",
    )
    parser.add_argument("--labels", action="store_true", help="also read the references, and list the label values in them")
    parser.add_argument("--all", action="store_true", help="list all cases, not only the first and the wrong ones")
    parser.add_argument(
        "--rename", action="append", default=[], metavar="CHANNEL=NAME", help="another name for a channel (repeatable)"
    )
    parser.add_argument(
        "--label-names",
        action="append",
        default=[],
        metavar="LABEL=NAME",
        help="another name for a label value, by the value or by the name that it has (repeatable)",
    )
    add_model(parser, default=None)
