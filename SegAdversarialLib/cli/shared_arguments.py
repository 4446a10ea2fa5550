"""The words that several commands take. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
from typing import Any

from SegAdversarialLib.cli.parser import seed, sizes, whole_numbers


def add_output(parser: Any) -> None:
    """Where results go."""
    parser.add_argument("--output", required=True, help="folder for the results")
    add_overwrite(parser)


def add_overwrite(parser: Any) -> None:
    """What happens to earlier results."""
    parser.add_argument("--overwrite", action="store_true", help="take away what earlier jobs left in that folder, as a whole")


def add_device(parser: Any) -> None:
    """Where networks run."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: %(default)s)")


def add_case(parser: argparse.ArgumentParser) -> None:
    """A subject."""
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
    group.add_argument("--phantom", type=seed, metavar="SEED", help="a synthetic subject instead of image files")
    group.add_argument("--phantom-size", type=sizes, default=(64, 64, 64), metavar="N[,N,N]", help="its size (64)")
    group.add_argument("--name", default="", help="the subject's name (else what its files' names begin with, or the folder)")
    group.add_argument("--n4", action="store_true", help="correct the bias field of MR images first (N4)")
    group.add_argument("--resample", action="store_true", help="put all images onto the first one's grid")
    group.add_argument("--replace-nonfinite", type=float, metavar="NUMBER", help="put this in the place of NaN and infinities")
    group.add_argument(
        "--prefer",
        choices=("sform", "qform"),
        help="the position to take of NIfTI files that give two which contradict each other",
    )


def add_model(
    parser: argparse.ArgumentParser, default: str | None = "builtin:brain-tumour-phantom", explains: bool = False
) -> None:
    """A network, and what its file does not say."""
    group = parser.add_argument_group(
        "the network", "What a file does not say by itself comes from a JSON file beside it, or from these options."
    )
    group.add_argument(
        "--model",
        default=default,
        metavar="FILE",
        help='network file, built-in name, or a name in the list of "models" (default: %(default)s)',
    )
    group.add_argument(
        "--trust", action="store_true", help="open files that are programs (TorchScript): you trust their source"
    )
    add_device(group)
    group.add_argument(
        "--model-settings", metavar="FILE", help="JSON file with the settings (default: the one beside the network)"
    )
    _add_weights(group)
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
        "--threshold", type=float, metavar="P", help="of a sigmoid head: the probability above which a region is there"
    )
    group.add_argument(
        "--preprocessing",
        metavar="JSON",
        nargs="?" if explains else None,
        const="" if explains else None,
        help='such as {"orientation": "LPS", "normalization": {"kind": "zscore", "mask": "positive", "background": 0}}; '
        '"info --preprocessing" shows all that can be set',
    )
    _add_windows(group)
    _add_nature(group)
    group.add_argument(
        "--accelerate",
        action="append",
        metavar="SWITCH[=VALUE]",
        help="channels_last, compiled, fused=false; mixed_precision=auto (of attacks' searches; also =false, =tf32, "
        "=bfloat16, =float16) (repeatable)",
    )


def _add_weights(group: Any) -> None:
    """What weights alone do not say."""
    group.add_argument(
        "--architecture",
        metavar="JSON",
        help='the network that weights alone belong to, {"name": "UNet", "arguments": {...}}: of MONAI, or a paper\'s',
    )
    group.add_argument(
        "--weights-within", metavar="PLACE", help='where in a checkpoint its weights are, if several sets fit: "state_dict"'
    )


def _add_windows(group: Any) -> None:
    """In what pieces a network sees a volume."""
    group.add_argument("--window", type=whole_numbers, metavar="N,N,N", help="voxels that it sees at once, in its axis order")
    group.add_argument("--overlap", type=float, help="share of a window that its neighbour sees too")
    group.add_argument("--mirror", metavar="AXES", help='axes along which windows are flipped, too, such as kji; "": none')
    group.add_argument(
        "--blending",
        choices=("gaussian", "voxel-gaussian", "constant"),
        help="a window counts less towards its faces (default: as in MONAI; voxel: as in nnU-Net), or the same",
    )
    group.add_argument("--size-multiple", type=int, metavar="N", help="sizes that it takes are multiples of this")
    group.add_argument(
        "--window-batch", type=int, metavar="N", help="windows in one go; none: measured on a CPU, what a GPU's memory holds"
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


def add_regions(parser: Any) -> None:
    """Structures to measure."""
    parser.add_argument(
        "--regions", action="append", metavar="NAME=A,B", help="a structure to measure, as labels (repeatable)"
    )


def add_learning(parser: argparse.ArgumentParser) -> None:
    """Many cases and a network."""
    parser.add_argument("--phantom", type=seed, action="append", metavar="SEED", help="a synthetic subject (repeatable)")
    parser.add_argument("--phantom-size", type=sizes, default=(64, 64, 64), metavar="N[,N,N]", help="their size (64)")
    parser.add_argument(
        "--case",
        action="append",
        metavar="FILE.json",
        help='a case as in jobs, {"channels": {...}, "label": ""} (repeatable)',
    )
    parser.add_argument(
        "--cohort",
        action="append",
        metavar="NAME",
        help='the cases of a cohort: "brats:FOLDER", "csv:FILE", "phantom:0-7@48" and so on (see "cohort"; repeatable)',
    )
    add_model(parser)
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE", help="such as epochs=10 (repeatable)")
    parser.add_argument("--output", required=True, help="folder for the results")
