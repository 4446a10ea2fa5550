"""A MONAI bundle's list of transforms in our words: orientation, crop, resampling and intensities, each with its gradient.

Every transform is looked up by its name; none is made or run. One that has no counterpart is refused by its name, or named in
a warning where it changes little.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.bundle_config import Component
from SegAdversarialLib.formats.bundle_expressions import tree_of
from SegAdversarialLib.formats.bundle_names import as_written, base_name

_IMAGE = "image"
"""The entry of its dictionaries that MONAI's evaluator gives to the network."""

_NOTHING_TO_DO = (
    *("LoadImage", "EnsureChannelFirst", "AddChannel", "AsChannelFirst", "EnsureType", "ToTensor", "ToDevice", "Identity"),
    *("DataStats", "DeleteItems", "SelectItems", "CopyItems", "FromMetaTensor", "ToMetaTensor", "ToCupy", "ToNumpy"),
)
"""What brings a case into the form that this software gives it anyway."""


_FIXED = ("MedianSmooth", "GaussianSmooth", "GaussianSharpen", "HistogramNormalize", "AdjustContrast")
"""What is done to each image as fixed preparation: it has no counterpart with a gradient here."""


@dataclass
class Prepared:
    """What a list of transforms does to an image.

    Attributes:
        settings: for `Preprocessing`, without what is said of the outputs.
        names: of the channels, where images are joined under their own names.
        multiple: the number that sizes are padded to multiples of.
        order: of the interpolation; 0 is the nearest voxel.
        warnings: what is not quite as in MONAI.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] | None = None
    multiple: int = 1
    order: int = 1
    warnings: list[str] = field(default_factory=list)


def prepared(transforms: Sequence[Any], channels: int | None) -> Prepared:
    """What the transforms of a bundle do to the image.

    Args:
        transforms: the components in their order.
        channels: how many the network takes; None: not known.

    Raises:
        InputError: one of them cannot be said here.
    """
    reader = _Reader(channels)
    for transform in transforms:
        if not isinstance(transform, Component):
            raise InputError("The bundle's preprocessing holds something that is no transform; write them one by one.")
        with as_written(transform.entry):
            reader.read(transform)
    return reader.done()


class _Reader:
    def __init__(self, channels: int | None) -> None:
        self.found = Prepared()
        self._channels = channels
        self._keys = {_IMAGE}
        self._steps: list[dict[str, Any] | list[dict[str, Any]]] = []
        self._order: list[str] = []

    def read(self, transform: Component) -> None:
        name = base_name(transform.target, transform.entry)
        keys = transform.get("keys", _IMAGE)
        keys = [keys] if isinstance(keys, str) else list(keys) if isinstance(keys, (list, tuple)) else []
        if name == "ConcatItems":
            self._join(transform, keys)
        elif name in _NOTHING_TO_DO:
            if name == "LoadImage":
                self._keys |= {x for x in keys if x not in ("label", "mask")}
        elif name in _FIXED and not self._keys.isdisjoint(keys):
            self.fixed(transform, name)
        elif not self._keys.isdisjoint(keys):
            if name not in _READERS:
                raise _cannot(transform, "it has no counterpart here through which a gradient goes")
            _READERS[name](self, transform)

    def done(self) -> Prepared:
        if self._steps:
            self.found.settings["normalization"] = self._normalization()
        if self._order:
            usual = ("crop", "resample", "normalize")
            order = [*self._order, *(x for x in usual if x not in self._order)]
            if self._order != [x for x in usual if x in self._order]:
                self.found.settings["order"] = order
        return self.found

    def _normalization(self) -> Any:
        """The steps as one normalisation, or as one for each channel where they differ from channel to channel."""
        apart = [len(x) for x in self._steps if isinstance(x, list)]
        if not apart:
            return _chain([x for x in self._steps if isinstance(x, dict)])
        return [_chain([x[n] if isinstance(x, list) else x for x in self._steps]) for n in range(apart[0])]

    def _join(self, transform: Component, keys: list[str]) -> None:
        if str(transform.get("name")) == _IMAGE and len(keys) > 1:
            self.found.names = tuple(keys)

    def comes(self, step: str, transform: Component) -> None:
        """Note that a crop, a resampling or a normalisation comes here."""
        if step in self._order and (step != "normalize" or self._order[-1] != "normalize"):
            raise _cannot(transform, f"a second step of its kind ({step}) after another one cannot be said here")
        if step not in self._order:
            self._order.append(step)

    def add(self, transform: Component, *steps: dict[str, Any] | list[dict[str, Any]]) -> None:
        """Note what is done to intensities."""
        self.comes("normalize", transform)
        self._steps += steps

    def check_apart(self, transform: Component, unless_said: bool = False) -> None:
        """Refuse numbers that are found over all channels at once: here each is treated by itself."""
        if self._channels == 1 or _said(transform.get("channel_wise", unless_said)):
            return
        how_many = "an unknown number of" if self._channels is None else str(self._channels)
        raise _cannot(
            transform, f"it takes {how_many} channels together (channel_wise is false), here each is taken by itself"
        )

    # -- geometry --

    def orientation(self, transform: Component) -> None:
        code = "RAS" if transform.get("as_closest_canonical", False) else transform.get("axcodes")
        labels = transform.get("labels")
        usual = [["L", "R"], ["P", "A"], ["I", "S"]]
        if not isinstance(code, str) or (labels is not None and [list(x) for x in labels] != usual):
            raise _cannot(transform, "it needs axcodes of the letters R, L, A, P, S and I")
        if "crop" in self._order or "resample" in self._order:
            wide = self.found.settings.get("spacing", [1, 1, 1])
            crop = self.found.settings.get("crop", {})
            if len(set(wide)) > 1 or len(set(crop.get("margin", [0]))) > 1 or "size" in crop or "size" in self.found.settings:
                raise _cannot(transform, "it comes after a step that counts along the axes, here it comes first")
        self.found.settings["orientation"] = code.upper()

    def spacing(self, transform: Component) -> None:
        self.comes("resample", transform)
        self._refuse_unless(transform, diagonal=False, scale_extent=False, align_corners=False)
        self._refuse_unless(transform, padding_mode="border")
        pixdim = transform.get("pixdim")
        numbers = [float(x) for x in (pixdim if isinstance(pixdim, (list, tuple)) else [pixdim])]
        numbers += [numbers[-1]] * (3 - len(numbers))
        self.found.settings["spacing"] = [x if x > 0 else None for x in numbers[:3]]
        self.found.settings["grid"] = "centers"
        self._interpolation(transform)
        low, high = transform.get("min_pixdim"), transform.get("max_pixdim")
        if low is not None or high is not None:
            self._kept(transform, numbers[:3], low, high)

    def _kept(self, transform: Component, pixdim: list[float], low: Any, high: Any) -> None:
        """The share of the spacing within which an axis stays as it is."""
        shares = []
        for bound in (low, high):
            bounds = pixdim if bound is None else bound if isinstance(bound, (list, tuple)) else [bound] * 3
            found = {round(float(x) / y, 6) for x, y in zip(bounds, pixdim)}
            shares.append(found.pop() if len(found) == 1 else None)
        if None in shares:
            raise _cannot(transform, "min_pixdim and max_pixdim must be the same share of pixdim along each axis")
        self.found.settings["spacing_kept"] = [min(shares[0] or 1.0, 1.0), max(shares[1] or 1.0, 1.0)]

    def resize(self, transform: Component) -> None:
        self.comes("resample", transform)
        self._refuse_unless(transform, size_mode="all", align_corners=False, anti_aliasing=False)
        size = transform.get("spatial_size")
        if not isinstance(size, (list, tuple)) or len(size) != 3 or min(size) < 1:
            raise _cannot(transform, "its spatial_size must be three numbers of voxels")
        self.found.settings["size"] = [int(x) for x in size]
        mode = _single(transform.get("mode", "area"))
        if mode not in ("bilinear", "trilinear", "linear"):
            raise _cannot(transform, f'its mode "{mode}" has no counterpart here; trilinear has')

    def _interpolation(self, transform: Component) -> None:
        mode = _single(transform.get("mode", "bilinear"))
        orders = {"bilinear": 1, "nearest": 0, 0: 0, 1: 1, 3: 3, "0": 0, "1": 1, "3": 3}
        if mode not in orders:
            raise _cannot(transform, f"its mode {mode} has no counterpart here; bilinear, nearest and 3 have")
        self.found.order = orders[mode]
        if orders[mode] != 1:
            self.found.settings["resampling"] = {"order": orders[mode]}
        if orders[mode] == 3:
            self.found.warnings.append("Its splines of order 3 go on beyond the image's edge otherwise than MONAI's.")

    def crop_foreground(self, transform: Component) -> None:
        self.comes("crop", transform)
        margin = transform.get("margin", 0)
        crop: dict[str, Any] = {"kind": "foreground", "above": 0.0}
        crop["margin"] = [int(x) for x in margin] if isinstance(margin, (list, tuple)) else [int(margin)] * 3
        chosen, multiple = transform.get("channel_indices"), transform.get("k_divisible", 1)
        if chosen is not None:
            crop["channels"] = [int(x) for x in (chosen if isinstance(chosen, (list, tuple)) else [chosen])]
        if isinstance(multiple, (list, tuple)) and len(set(multiple)) > 1:
            raise _cannot(transform, "its k_divisible must be one number")
        crop["multiple"] = int(_single(multiple))
        if any(crop["margin"]) and not transform.get("allow_smaller", False):
            crop["padded"] = True
        if transform.get("source_key", _IMAGE) not in self._keys:
            raise _cannot(transform, "it looks for the foreground in something other than the image (source_key)")
        if "select_fn" in transform:
            crop |= _selection(transform)
        self.found.settings["crop"] = crop

    def crop_or_pad(self, transform: Component) -> None:
        self.comes("crop", transform)
        size = transform.get("spatial_size", transform.get("roi_size"))
        sizes = list(size) if isinstance(size, (list, tuple)) else [size] * 3
        if len(sizes) != 3 or not all(isinstance(x, (int, float)) and x >= 1 for x in sizes):
            raise _cannot(transform, "it must name three numbers of voxels")
        crop: dict[str, Any] = {"kind": "center", "size": [int(x) for x in sizes]}
        self.found.settings["crop"] = {**crop, "only": "crop"} if "roi_size" in transform else crop

    def pad(self, transform: Component) -> None:
        self._refuse_unless(transform, mode="constant", method="symmetric", value=0, constant_values=0)
        self.crop_or_pad(transform)
        self.found.settings["crop"]["only"] = "pad"

    def pad_to_multiple(self, transform: Component) -> None:
        self._refuse_unless(transform, mode="constant", method="symmetric", value=0, constant_values=0)
        multiple = transform.get("k")
        if isinstance(multiple, (list, tuple)) and len(set(multiple)) > 1:
            raise _cannot(transform, "its k must be one number")
        self.found.multiple = int(_single(multiple))

    # -- intensities --

    def normalize(self, transform: Component) -> None:
        taken, divided = transform.get("subtrahend"), transform.get("divisor")
        inside = _said(transform.get("nonzero", False))
        if taken is None and divided is None:
            self.check_apart(transform)
            self.add(transform, {"kind": "zscore", "mask": "nonzero", "background": 0.0} if inside else {"kind": "zscore"})
            return
        if inside or taken is None or divided is None:
            raise _cannot(transform, "with fixed numbers it needs both subtrahend and divisor, and nonzero false")
        pairs = list(zip(_numbers(taken, transform), _numbers(divided, transform)))
        steps = [_affine(1.0 / (x or 1.0), -mean / (x or 1.0), transform) for mean, x in pairs]
        self.add(transform, steps[0] if len(steps) == 1 else steps)

    def scale_range(self, transform: Component) -> None:
        low, high = float(transform.get("a_min")), float(transform.get("a_max"))
        to_low, to_high = transform.get("b_min"), transform.get("b_max")
        clip = _said(transform.get("clip", False))
        if high == low:
            raise _cannot(transform, "its a_min and a_max are the same number")
        fixed = to_low is not None and to_high is not None
        slope = 1.0 / (high - low) * (float(to_high) - float(to_low) if fixed else 1.0)
        step = _affine(slope, (float(to_low) if fixed else 0.0) - slope * low, transform)
        self.add(transform, {**step, "lower": low, "upper": high} if clip and fixed else step)

    def scale(self, transform: Component) -> None:
        low, high, factor = transform.get("minv", 0.0), transform.get("maxv", 1.0), transform.get("factor")
        if low is not None and high is not None:
            self.check_apart(transform)
            self.add(transform, {"kind": "rescale"}, *_to_range(float(low), float(high), transform))
        elif factor is not None:
            self.add(transform, _affine(1.0 + float(factor), 0.0, transform))

    def scale_percentiles(self, transform: Component) -> None:
        self._refuse_unless(transform, relative=False)
        self.check_apart(transform)
        low, high = transform.get("b_min"), transform.get("b_max")
        step = {"kind": "rescale", "low": float(transform.get("lower")), "high": float(transform.get("upper"))}
        fixed = low is not None and high is not None
        step["clip"] = _said(transform.get("clip", False)) and fixed
        self.add(transform, step, *(_to_range(float(low), float(high), transform) if fixed else []))

    def shift(self, transform: Component) -> None:
        self.add(transform, _affine(1.0, float(transform.get("offset")), transform))

    def threshold(self, transform: Component) -> None:
        limit, above = float(transform.get("threshold")), _said(transform.get("above", True))
        if float(transform.get("cval", 0.0)) != limit:
            raise _cannot(transform, "with a cval other than its threshold the intensities jump, which has no gradient")
        self.add(transform, {"kind": "window", "lower" if above else "upper": limit})

    def cast(self, transform: Component) -> None:
        if (kind := _single(transform.get("dtype"))) is not None and "int" in str(kind):
            raise _cannot(transform, f"it cuts intensities to whole numbers ({kind}), which has no gradient")

    def fixed(self, transform: Component, name: str) -> None:
        """What has no gradient here, and is done to each image as it is."""
        given = {x: y for x, y in transform.arguments().items() if x not in ("keys", "allow_missing_keys") and y is not None}
        if not all(isinstance(x, (int, float)) for x in given.values()):
            raise _cannot(transform, "its arguments must be single numbers")
        self.add(transform, {"kind": "fixed", "transform": name, "arguments": given})
        self.found.warnings.append(
            f"Its step {transform.target} has no gradient here: it is done to each image, and gradients go past it unchanged."
        )

    def _refuse_unless(self, transform: Component, **usual: Any) -> None:
        """Refuse an argument that is there and not as usual."""
        for name, value in usual.items():
            said = transform.get(name, value)
            if _single(said) not in (value, None) and not (name == "align_corners" and not _single(said)):
                raise _cannot(transform, f"its {name} must be {value}")


_READERS: dict[str, Callable[[_Reader, Component], None]] = {
    "Orientation": _Reader.orientation,
    "Spacing": _Reader.spacing,
    "Resize": _Reader.resize,
    "CropForeground": _Reader.crop_foreground,
    "ResizeWithPadOrCrop": _Reader.crop_or_pad,
    "CenterSpatialCrop": _Reader.crop_or_pad,
    "SpatialPad": _Reader.pad,
    "DivisiblePad": _Reader.pad_to_multiple,
    "NormalizeIntensity": _Reader.normalize,
    "ScaleIntensityRange": _Reader.scale_range,
    "ScaleIntensity": _Reader.scale,
    "ScaleIntensityRangePercentiles": _Reader.scale_percentiles,
    "ShiftIntensity": _Reader.shift,
    "ThresholdIntensity": _Reader.threshold,
    "CastToType": _Reader.cast,
}


def _cannot(transform: Component, why: str) -> InputError:
    return InputError(
        f"The bundle's {transform.entry}, {transform.target}, cannot be said here: {why}; do what it does to the cases "
        "beforehand and take it out of the configuration, or wrap the network in Python (SegmentationModel.from_network)."
    )


def _chain(steps: list[Any]) -> dict[str, Any]:
    return steps[0] if len(steps) == 1 else {"kind": "chain", "steps": steps}


def _affine(slope: float, offset: float, transform: Component) -> dict[str, Any]:
    """slope * x + offset as fixed numbers that are subtracted and divided by."""
    if slope <= 0:
        raise _cannot(transform, "it turns intensities round")
    return {"kind": "window", "mean": -offset / slope, "std": 1.0 / slope}


def _to_range(low: float, high: float, transform: Component) -> list[dict[str, Any]]:
    """What brings [0, 1] to another range."""
    return [] if (low, high) == (0.0, 1.0) else [_affine(high - low, low, transform)]


def _said(value: Any) -> bool:
    """A truth, which some bundles write as a text; as Python has it, any text but an empty one is true."""
    return bool(value)


def _single(value: Any) -> Any:
    """An argument that may come as a list with a single entry, or the same one several times."""
    return value[0] if isinstance(value, (list, tuple)) and value else value


def _numbers(value: Any, transform: Component) -> list[float]:
    try:
        return [float(x) for x in value] if isinstance(value, (list, tuple)) else [float(value)]
    except (TypeError, ValueError):
        raise _cannot(transform, "its subtrahend and divisor must be numbers, one or one for each channel") from None


def _selection(transform: Component) -> dict[str, Any]:
    """What counts as foreground, from a function such as "$lambda x: x > 0"."""
    written = transform.raw("select_fn")
    if isinstance(written, str) and written.startswith("$"):
        try:
            tree, entries = tree_of(written[1:])
        except ValueError:
            tree, entries = ast.Constant(None), {}
        match tree:
            case ast.Lambda(
                args=ast.arguments(args=[ast.arg(arg=name)]),
                body=ast.Compare(left=ast.Name(id=left), ops=[ast.Gt()], comparators=[limit]),
            ) if left == name and not entries:
                try:
                    return {"above": float(ast.literal_eval(limit))}
                except (ValueError, TypeError, SyntaxError):
                    pass
    raise _cannot(transform, 'its select_fn must be of the form "$lambda x: x > 0"')
