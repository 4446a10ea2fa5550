"""What a MONAI bundle does with its network: in which windows it is asked, and how its outputs become labels."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.bundle_config import Component
from SegAdversarialLib.formats.bundle_expressions import tree_of
from SegAdversarialLib.formats.bundle_names import as_written, base_name

_PREDICTION = "pred"

_LEFT_OUT = {
    "KeepLargestConnectedComponent": "keeps the largest connected part of each structure",
    "RemoveSmallObjects": "removes small parts",
    "FillHoles": "fills holes",
    "LabelFilter": "keeps some labels only",
    "MapLabelValue": "writes other label values",
    "MeanEnsemble": "averages several networks",
    "VoteEnsemble": "lets several networks vote",
}
"""Steps on finished label maps that are not repeated here, and what each does."""

_NOTHING_TO_DO = (
    *("SaveImage", "EnsureType", "ToTensor", "ToDevice", "ToNumpy", "ToCupy", "FromMetaTensor", "CopyItems", "DeleteItems"),
    *("SelectItems", "SqueezeDim", "CastToType", "DataStats", "Identity", "SplitDim", "EnsureChannelFirst"),
)


@dataclass
class Asked:
    """How a network is asked.

    Attributes:
        settings: by the names of `ModelSettings`.
        axes: the network's axes in those of MONAI's arrays, which are i, j, k.
        warnings: what is not quite as in MONAI.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    axes: str = "ijk"
    warnings: list[str] = field(default_factory=list)


@dataclass
class Outputs:
    """How outputs become labels.

    Attributes:
        head: what they are; None: nothing tells.
        threshold: the probability above which a region is there.
        restores: "logits", "probabilities" or "labels": what is brought back onto the case's grid; None: nothing tells.
        nearest: it is brought back by the nearest voxel.
        inverts: whether it is brought back at all; None: nothing tells.
        values: the label value of each output, and those that are painted over it; None: nothing tells.
        warnings: what is not quite as in MONAI.
    """

    head: Literal["softmax", "sigmoid"] | None = None
    threshold: float = 0.5
    restores: Literal["logits", "probabilities", "labels"] | None = None
    nearest: bool = False
    inverts: bool | None = None
    values: list[tuple[int, tuple[int, ...]]] | None = None
    warnings: list[str] = field(default_factory=list)


def asked(inferer: Any) -> Asked:
    """How a bundle's inferer asks the network.

    Raises:
        InputError: it is none whose manner can be said here.
    """
    if inferer is None:
        return Asked()
    if not isinstance(inferer, Component):
        raise InputError("The bundle's inferer is no component with a _target_; write one, such as SlidingWindowInferer.")
    with as_written(inferer.entry):
        return _asked(inferer)


def _asked(inferer: Component) -> Asked:
    name = base_name(inferer.target, inferer.entry)
    if name == "SimpleInferer":
        return Asked()
    if name not in ("SlidingWindowInferer", "SlidingWindowInfererAdapt", "SliceInferer"):
        raise InputError(
            f"The bundle's {inferer.entry} is {inferer.target}, which asks the network in a manner that cannot be said here; "
            "SimpleInferer, SlidingWindowInferer and SliceInferer can."
        )
    found = Asked({"blending": "gaussian" if _text(inferer.get("mode", "constant")) == "gaussian" else "constant"})
    axes = "ijk"
    if name == "SliceInferer":
        axes = axes.replace("ijk"[int(inferer.get("spatial_dim", 0))], "")
    found.axes = axes
    size = inferer.get("roi_size")
    sizes = list(size) if isinstance(size, (list, tuple)) else [size] * len(axes)
    whole = [x is None or x <= 0 for x in sizes]
    if any(whole) and not all(whole) or len(sizes) != len(axes):
        raise InputError(
            f"The bundle's {inferer.entry}::roi_size is {sizes}; a window has {len(axes)} sizes, each above 0: write them."
        )
    if not any(whole):
        found.settings["window"] = [int(x) for x in sizes]
    overlaps = inferer.get("overlap", 0.25)
    overlaps = list(overlaps) if isinstance(overlaps, (list, tuple)) else [overlaps]
    found.settings["overlap"] = float(max(overlaps))
    if len(set(overlaps)) > 1:
        found.warnings.append(f"Its windows overlap by {overlaps} along its axes, here by {max(overlaps)} along all of them.")
    if (padding := _text(inferer.get("padding_mode", "constant"))) != "constant" or inferer.get("cval", 0.0):
        found.warnings.append(
            f"Where an image is smaller than a window MONAI pads it ({padding}, {inferer.get('cval', 0.0)}); here with zeros."
        )
    if inferer.get("sigma_scale", 0.125) != 0.125 and found.settings["blending"] == "gaussian":
        found.warnings.append(
            f"Its windows are blended with a sigma of {inferer.get('sigma_scale')} of a window, here of 0.125."
        )
    return found


def outputs(transforms: Sequence[Any]) -> Outputs:
    """How a bundle's postprocessing makes labels of what the network gives.

    Args:
        transforms: the components in their order.

    Raises:
        InputError: one of them is a program, or cannot be said here.
    """
    found, done = Outputs(), list[str]()
    for transform in transforms:
        if not isinstance(transform, Component):
            raise InputError("The bundle's postprocessing holds something that is no transform; write them one by one.")
        keys = transform.get("keys", _PREDICTION)
        with as_written(transform.entry):
            if _PREDICTION in ([keys] if isinstance(keys, str) else keys or []):
                _read(transform, found, done)
    _brought_back(found, done)
    return found


def _read(transform: Component, found: Outputs, done: list[str]) -> None:
    try:
        name = base_name(transform.target, transform.entry)
    except InputError:
        if "discrete" not in done:
            raise
        found.warnings.append(f"Its last step {transform.target}, Python code that comes with it, is left out.")
        return
    if name == "Activations":
        for head in ("softmax", "sigmoid"):
            if transform.get(head, False):
                found.head = found.head or head
                done.append("activation")
        if "other" in transform:
            raise InputError(
                f"The bundle's {transform.entry}::other is a function of its own; sigmoid and softmax can be said."
            )
    elif name == "Invert":
        done.append("invert")
        found.nearest = bool(transform.get("nearest_interp", True))
    elif name == "AsDiscrete":
        _discrete(transform, found, done)
    elif name == "Lambda" and "discrete" in done and found.head == "sigmoid":
        found.values = _painted(transform)
        if found.values is None:
            found.warnings.append(f"Its last step {transform.entry}, a function, is left out.")
    elif name in _LEFT_OUT or (name == "Lambda" and "discrete" in done):
        what = _LEFT_OUT.get(name, "is a function of its own")
        found.warnings.append(f"Its step {transform.target}, which {what}, is left out: no gradient goes through it.")
    elif name not in _NOTHING_TO_DO:
        raise InputError(
            f"The bundle's {transform.entry}, {transform.target}, cannot be said here; take it out of the configuration, or "
            "wrap the network in Python (SegmentationModel.from_network)."
        )


def _discrete(transform: Component, found: Outputs, done: list[str]) -> None:
    done.append("discrete")
    threshold = transform.get("threshold")
    if transform.get("argmax", False):
        found.head = "softmax"
    elif threshold is not None:
        if found.head == "softmax":
            found.warnings.append(f"It takes classes above {threshold}, here the most probable class is taken.")
            return
        found.head = "sigmoid"
        found.threshold = float(threshold)
        if not 0 < found.threshold < 1:
            if "activation" in done:
                raise InputError(f"The bundle's {transform.entry}::threshold is {threshold}; it must lie between 0 and 1.")
            found.threshold = 0.5
            found.warnings.append(f"It takes outputs above {threshold} as they are; here probabilities above 0.5.")


def _brought_back(found: Outputs, done: list[str]) -> None:
    """What comes back onto the case's grid, from the order of the steps."""
    if "invert" not in done:
        if done:
            found.restores, found.nearest, found.inverts = "labels", True, False
        return
    before = done[: done.index("invert")]
    if "discrete" in before:
        found.restores = "labels"
        if not found.nearest:
            found.warnings.append(
                "It interpolates between label values (Invertd with nearest_interp false); here the nearest counts."
            )
        found.nearest = True
    else:
        found.restores = "probabilities" if "activation" in before else "logits"


def _painted(transform: Component) -> list[tuple[int, tuple[int, ...]]] | None:
    """The values that a function such as "lambda x: where(x[[2]] > 0, 4, where(x[[0]] > 0, 1, 0))" writes for each output.

    Each is given with the values that come before it, and so lie on top of it.
    """
    written = transform.raw("func")
    try:
        tree, entries = tree_of(written[1:] if isinstance(written, str) else "")
    except ValueError:
        return None
    if entries or not isinstance(tree, ast.Lambda) or len(tree.args.args) != 1:
        return None
    name, node, above = tree.args.args[0].arg, tree.body, list[tuple[int, int]]()
    while (layer := _layer(node, name)) is not None:
        output, value, node = layer
        above.append((output, value))
    if not above or not (isinstance(node, ast.Constant) and node.value == 0) or len({x for x, _ in above}) != len(above):
        return None
    values = [value for _, value in above]
    if sorted(x for x, _ in above) != list(range(len(above))) or len(set(values)) != len(values) or min(values) < 1:
        return None
    of = {output: (value, tuple(sorted(values[: n + 1]))) for n, (output, value) in enumerate(above)}
    return [of[n] for n in range(len(above))]


def _layer(node: ast.expr, name: str) -> tuple[int, int, ast.expr] | None:
    """Output, value and the rest of one torch.where(x[[output]] > 0, value, rest)."""
    match node:
        case ast.Call(
            func=ast.Attribute(attr="where"),
            args=[
                ast.Compare(
                    left=ast.Subscript(
                        value=ast.Name(id=variable),
                        slice=ast.List(elts=[ast.Constant(value=int(output))]) | ast.Constant(value=int(output)),
                    ),
                    ops=[ast.Gt()],
                    comparators=[ast.Constant(value=limit)],
                ),
                ast.Constant(value=int(value)),
                rest,
            ],
            keywords=[],
        ) if variable == name and limit in (0, 0.5):
            return output, value, rest
    return None


def _text(mode: Any) -> str:
    return str(mode).rpartition(".")[2].lower()
