"""The command line's words. Nothing heavy is imported here, so that --help answers at once."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from SegAdversarialLib import __version__
from SegAdversarialLib.cli.train_arguments import add_train
from SegAdversarialLib.errors import InputError

_EPILOG = """examples:
  segadversarial demo --output demo-results
  segadversarial attack --channel T1=t1.nii.gz --channel T1ce=t1ce.nii.gz --channel T2=t2.nii.gz \\
      --channel FLAIR=flair.nii.gz --label seg.nii.gz --attack fgsm --set epsilon=0.05 \\
      --output results --scene results/scene.mrb
  segadversarial attacks pgd
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
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
    _add_case(segment)
    _add_model(segment)
    _add_output(segment)

    _add_attack(_command(commands, "attack", "Attack a case and measure what that does."))

    _add_evaluate(_command(commands, "evaluate", "Measure what any change of a case's images does to a network's answer."))

    about = "Certify what no attack within a radius can change of a network's answer for a case."
    _add_certify(_command(commands, "certify", about))

    _add_learners(commands)

    about = "Find out whether a network's robustness is real: adaptive attacks, checks, worst-case Dice."
    _add_audit(_command(commands, "audit", about))

    _add_list(commands, "attack", "List the attacks, or all about one: settings, units, bounds.", " or the group to list")
    _add_list(commands, "recipe", "List the ways to train a network, or all about one: settings, units, bounds.")

    runner = _command(commands, "run", "Run a job from its JSON specification.")
    runner.add_argument("specification", help="JSON file, such as the job.json in a folder of results")
    _add_overwrite(runner)

    about = "For programs: take requests and give events as JSON lines until the input ends (see jobs/worker.py)."
    commands.add_parser("worker", help=about, description=about)

    info = _command(commands, "info", "Versions, devices and built-in networks, or all about one network.")
    info.add_argument("network", nargs="?", metavar="FILE", help="the network, as --model")
    _add_model(info, default=None, explains=True)
    return parser


def _add_learners(commands: Any) -> None:
    """The commands that learn from many cases."""
    about = "Learn one perturbation for all cases of a grid (universal-perturbation)."
    learning = _command(commands, "learn-universal", about)
    _add_learning(learning)
    _add_overwrite(learning)

    about = "Train a generator of adversarial images against a network (generative)."
    training = _command(commands, "train-generator", about)
    _add_learning(training)
    training.add_argument("--start", metavar="FILE", help="an earlier generator to go on from")

    about = "Train a segmentation network, as usual or to hold against attacks."
    add_train(_command(commands, "train", about), _numbers)


def key_values(pairs: Sequence[str], what: str, last: bool = False) -> dict[str, str]:
    """["a=b"] as {"a": "b"}; of several "=" the first counts, or the last.

    Raises:
        InputError: a pair has no "=" or nothing on one side, or a key comes twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, sign, value = pair.partition("=") if not last else pair.rpartition("=")
        if not sign or not key.strip() or not value.strip():
            raise InputError(f'"{pair}" is not of the form {what}.')
        if key.strip() in found:
            raise InputError(f"{key.strip()} is given twice; give it once.")
        found[key.strip()] = value.strip()
    return found


def value_of(text: str) -> Any:
    """A setting's value as JSON says it, or else the text itself; several values are separated by commas."""
    try:
        return json.loads(text)
    except ValueError:
        return [value_of(x) for x in text.split(",")] if "," in text and text[:1] not in "[{" else text


def settings_of(pairs: Sequence[str], what: str) -> dict[str, Any]:
    """["steps=40", "channels=T1,T2"] as {"steps": 40, "channels": ["T1", "T2"]}.

    Raises:
        InputError: as in `key_values`.
    """
    return {key: value_of(value) for key, value in key_values(pairs, what).items()}


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
    parser.add_argument("--seed", type=int, default=7, help="which synthetic subject (default: %(default)s)")
    parser.add_argument("--size", type=int, default=64, help="its size in voxels along each axis (default: %(default)s)")
    _add_overwrite(parser)
    _add_device(parser)


def _add_output(parser: Any) -> None:
    parser.add_argument("--output", required=True, help="folder for the results")
    _add_overwrite(parser)


def _add_overwrite(parser: Any) -> None:
    parser.add_argument("--overwrite", action="store_true", help="take away what earlier jobs left in that folder, as a whole")


def _add_device(parser: Any) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: %(default)s)")


def _add_phantom(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, help="folder; each subject gets one of its own in it")
    parser.add_argument("--seed", type=int, action="append", help="which subject (repeatable; default: 7)")
    parser.add_argument("--size", type=_sizes, default=(64, 64, 64), metavar="N[,N,N]", help="slices, rows, columns (64)")


def _add_case(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the case")
    group.add_argument(
        "--channel",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="an image, or a folder of a DICOM series, and the name of its channel (repeatable); a file with several: "
        "A,B,C=FILE; one of several series: NAME=FOLDER#NUMBER",
    )
    group.add_argument("--label", metavar="FILE", help="reference label map, or a segmentation of Slicer's (.seg.nrrd)")
    group.add_argument(
        "--label-names",
        action="append",
        default=[],
        metavar="SEGMENT=CLASS",
        help='class of the network that a segment (or a label value) is, where its name does not say: "left=kidney_left" '
        '(repeatable); "background" for none',
    )
    group.add_argument("--phantom", type=int, metavar="SEED", help="a synthetic subject instead of image files")
    group.add_argument("--phantom-size", type=_sizes, default=(64, 64, 64), metavar="N[,N,N]", help="its size (64)")
    group.add_argument("--name", default="", help="the subject's name")
    group.add_argument("--n4", action="store_true", help="correct the bias field of MR images first (N4)")
    group.add_argument("--resample", action="store_true", help="put all images onto the first one's grid")
    group.add_argument("--replace-nonfinite", type=float, metavar="NUMBER", help="put this in the place of NaN and infinities")
    group.add_argument(
        "--prefer",
        choices=("sform", "qform"),
        help="the position to take of NIfTI files that give two which contradict each other",
    )


def _add_model(
    parser: argparse.ArgumentParser, default: str | None = "builtin:brain-tumour-phantom", explains: bool = False
) -> None:
    group = parser.add_argument_group(
        "the network", "What a file does not say by itself comes from a JSON file beside it, or from these options."
    )
    group.add_argument("--model", default=default, metavar="FILE", help="network file or built-in name (default: %(default)s)")
    group.add_argument(
        "--trust", action="store_true", help="open files that are programs (TorchScript): you trust their source"
    )
    _add_device(group)
    group.add_argument(
        "--model-settings", metavar="FILE", help="JSON file with the settings (default: the one beside the network)"
    )
    group.add_argument("--model-channels", metavar="A,B,C", help="channels that the network takes, in its order")
    group.add_argument("--classes", metavar="0=NAME,1=NAME", help="label and name of each output, in their order")
    group.add_argument(
        "--stands-for",
        action="append",
        metavar="CLASS=A,B",
        help="reference labels that a class (its label or name) covers, where not just its own (repeatable)",
    )
    group.add_argument("--head", choices=("softmax", "sigmoid"), help="exclusive classes, or overlapping regions")
    group.add_argument(
        "--preprocessing",
        metavar="JSON",
        nargs="?" if explains else None,
        const="" if explains else None,
        help='such as {"orientation": "LPS", "normalization": {"kind": "zscore", "mask": "positive", "background": 0}}; '
        '"info --preprocessing" shows all that can be set',
    )
    group.add_argument("--window", type=_numbers, metavar="N,N,N", help="voxels that it sees at once, in its axis order")
    group.add_argument("--overlap", type=float, help="share of a window that its neighbour sees too")
    group.add_argument("--size-multiple", type=int, metavar="N", help="sizes that it takes are multiples of this")
    group.add_argument("--window-batch", type=int, metavar="N", help="windows in one go")
    _add_nature(group)
    group.add_argument(
        "--accelerate",
        action="append",
        metavar="SWITCH[=VALUE]",
        help="channels_last, mixed_precision (also =float16, =bfloat16, =auto), compiled, fused=false (repeatable)",
    )


def _add_nature(group: Any) -> None:
    """What a network is like: found out where it is not said."""
    group.add_argument(
        "--model-outputs", choices=("logits", "probabilities"), help="what it gives (default: found out, as the next three)"
    )
    group.add_argument("--model-output", metavar="N|NAME", help="which of several outputs is its answer (0 is the first)")
    group.add_argument(
        "--in-place",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="it changes its input, and gets a copy",
    )
    group.add_argument(
        "--allow-random", action="store_true", help="it is meant to say something else each time it is asked the same"
    )


def _add_attack(parser: argparse.ArgumentParser) -> None:
    _add_case(parser)
    _add_model(parser)
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
    _add_regions(group)
    _add_output(group)
    group.add_argument("--scene", metavar="FILE.mrb", help="also write a scene for 3D Slicer")
    group.add_argument("--pictures", action="store_true", help="also write pictures of Slicer's slice views")


def _add_regions(parser: Any) -> None:
    parser.add_argument(
        "--regions", action="append", metavar="NAME=A,B", help="a structure to measure, as labels (repeatable)"
    )


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_case(parser)
    _add_model(parser)
    parser.add_argument(
        "--adversarial",
        action="append",
        required=True,
        metavar="NAME=FILE",
        help="the changed image of a channel (repeatable); channels left out are unchanged",
    )
    _add_regions(parser)
    _add_output(parser)


def _add_audit(parser: argparse.ArgumentParser) -> None:
    _add_learning(parser)
    _add_overwrite(parser)
    group = parser.add_argument_group("the audit")
    efforts = ("quick", "usual", "thorough")
    group.add_argument("--effort", choices=efforts, help="how thoroughly (default: usual)")
    group.add_argument(
        "--epsilon", type=float, action="append", metavar="NUMBER", help="size of the attacks, between 0 and 1 (repeatable)"
    )
    group.add_argument("--surrogate", metavar="FILE", help="a similar network, from which attacks are transferred")


def _add_certify(parser: argparse.ArgumentParser) -> None:
    _add_case(parser)
    _add_model(parser)
    group = parser.add_argument_group("the certificate", "What each number does is told in docs/certificate.md.")
    group.add_argument(
        "--sigma",
        default="0.05",
        metavar="SIGMA or NAME=SIGMA,...",
        help="standard deviation of the noise, of all channels or of each (default: %(default)s)",
    )
    group.add_argument(
        "--sigma-units",
        choices=("relative", "absolute"),
        default="relative",
        help="a fraction of each channel's largest absolute intensity, or scanner units (default: %(default)s)",
    )
    group.add_argument("--n", type=int, default=200, help="noisy copies that vote (default: %(default)s)")
    group.add_argument("--n0", type=int, default=20, help="noisy copies that guess what is tested (default: %(default)s)")
    group.add_argument(
        "--alpha", type=float, default=0.001, help="chance that anything is wrongly said to be certain (default: %(default)s)"
    )
    group.add_argument(
        "--tau", type=float, default=0.75, help="share of all noisy copies that must agree (default: %(default)s)"
    )
    group.add_argument("--seed", type=int, default=0, help="of the noise (default: %(default)s)")
    _add_regions(group)
    _add_output(group)
    group.add_argument("--scene", metavar="FILE.mrb", help="also write a scene for 3D Slicer")


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
    _add_model(parser, default=None)


def _add_learning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--phantom", type=int, action="append", metavar="SEED", help="a synthetic subject (repeatable)")
    parser.add_argument("--phantom-size", type=_sizes, default=(64, 64, 64), metavar="N[,N,N]", help="their size (64)")
    parser.add_argument(
        "--case",
        action="append",
        metavar="FILE.json",
        help='a case as in jobs, {"channels": {...}, "label": ""} (repeatable)',
    )
    _add_model(parser)
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="such as epochs=10 (repeatable)")
    parser.add_argument("--output", required=True, help="folder for the results")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(x) for x in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not whole numbers separated by commas') from None


def _sizes(text: str) -> tuple[int, ...]:
    numbers = _numbers(text)
    if len(numbers) not in (1, 3):
        raise argparse.ArgumentTypeError(f'"{text}" is not one size or three (slices, rows, columns)')
    return numbers * 3 if len(numbers) == 1 else numbers


def labels_by_name(pairs: Mapping[str, str], what: str) -> dict[str, list[int]]:
    """{"WT": "1,2,4"} as {"WT": [1, 2, 4]}.

    Raises:
        InputError: something is not a whole number.
    """
    try:
        return {key: [int(x) for x in value.split(",")] for key, value in pairs.items()}
    except ValueError:
        raise InputError(f"{what} takes whole numbers separated by commas, such as 1,2,4.") from None
