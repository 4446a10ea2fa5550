"""What nnU-Net's plans and its description of the data set say, in the words of our settings.

nnU-Net's arrays are (slice, row, column) as they lie in the file; its axes are those after `transpose_forward`. It crops to
what is not 0, normalises, resamples, asks the network in evenly spread windows, resamples the logits back, and paints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.unopened import NotSupported

_READERS = {
    "SimpleITKIO": None,
    "NibabelIO": None,
    "SimpleITKIOWithReorient": "RAS",
    "NibabelIOWithReorient": "RAS",
}
"""How nnU-Net's readers of medical images turn them; the others read pictures without orientation."""

_PREPROCESSOR = "DefaultPreprocessor"
_ANISOTROPIC, _ALWAYS = 3.0, 1.000001
"""Ratio of spacings above which nnU-Net resamples the slices, and then between them; and where it is told to do so always."""


@dataclass(frozen=True)
class Plans:
    """nnU-Net's plans for one configuration, with the data set that they are for.

    Attributes:
        plans: plans.json.
        planned: its entry for the configuration, with all that it inherits.
        mirrored: axes of the network's input along which it is shown each window flipped, too.
        place: what messages call it.
        channels: names, in the network's order.
        classes: as `ModelSettings` takes them.
        has_regions: whether the outputs overlap.
        warnings: what is not as in nnU-Net.
    """

    plans: dict[str, Any]
    planned: dict[str, Any]
    mirrored: tuple[int, ...]
    place: Path
    channels: list[str]
    classes: list[dict[str, Any]]
    has_regions: bool
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, plans: dict[str, Any], dataset: dict[str, Any], configuration: str, mirrored: tuple[int, ...], place: Path
    ) -> Plans:
        """The plans for a configuration.

        Raises:
            InputError: something is missing in them or not known here, or the configuration is a cascade's second stage.
        """
        planned = _configuration(plans, configuration, place)
        if planned.get("previous_stage"):
            raise NotSupported(
                f"{place} is the second stage of a cascade of nnU-Net ({configuration}), which also takes the segmentation of "
                f"the first ({planned['previous_stage']}) as input; networks that take images alone, such as 3d_fullres or "
                "3d_lowres, open."
            )
        warnings: list[str] = []
        try:
            channels = _channels(dataset, warnings)
            classes, has_regions = _classes(dataset, place)
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"The dataset.json of {place} is damaged ({error!r}); it needs channel_names and labels as nnU-Net has them."
            ) from error
        return cls(plans, planned, mirrored, place, channels, classes, has_regions, warnings)

    def settings(self) -> dict[str, Any]:
        """The network's settings, by the names of `ModelSettings`.

        Raises:
            InputError: something is missing in the plans, damaged, or not known here.
        """
        try:
            return self._settings()
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"The plans of {self.place} are damaged or incomplete ({error!r}); give the plans.json that nnU-Net wrote."
            ) from error

    def _settings(self) -> dict[str, Any]:
        window = [int(x) for x in self.planned["patch_size"]]
        turned = [int(x) for x in self.plans["transpose_forward"]]
        if sorted(turned) != [0, 1, 2]:
            raise InputError(
                f"The plans of {self.place} are damaged: transpose_forward is {turned}, which is no order of three axes; give "
                "the plans.json that nnU-Net wrote."
            )
        letters = "".join("kji"[x] for x in turned)
        axes = letters[3 - len(window) :]
        return {
            "channels": self.channels,
            "classes": self.classes,
            "head": "sigmoid" if self.has_regions else "softmax",
            "painting": "in order",
            "preprocessing": self._preprocessing(axes),
            "window": window,
            "overlap": 0.5,
            "window_places": "even",
            "blending": "voxel-gaussian",
            "mirror": "".join(axes[x] for x in self.mirrored),
            "outputs": "logits",
        }

    def _preprocessing(self, axes: str) -> dict[str, Any]:
        if (name := self.planned.get("preprocessor_name", _PREPROCESSOR)) != _PREPROCESSOR:
            raise NotSupported(
                f"{self.place} was trained with a preprocessing of its own ({name}), which its files do not describe; "
                f"networks with nnU-Net's own ({_PREPROCESSOR}) open."
            )
        chosen: dict[str, Any] = {
            "axes": axes,
            "order": ["crop", "normalize", "resample"],
            "crop": {"kind": "nonzero"},
            "normalization": [self._normalization(n) for n in range(len(self.channels))],
        }
        if (orientation := self._orientation()) is not None:
            chosen["orientation"] = orientation
        resampling = self._resampling("data")
        if resampling is not None:
            spacing = dict(zip(axes, self.planned["spacing"][-len(axes) :]))
            chosen["spacing"] = [float(spacing[x]) if x in spacing else None for x in "ijk"]  # slices stay as they are
            chosen["resampling"] = resampling
            back = self._resampling("probabilities")
            if back is None:
                raise NotSupported(
                    f"{self.place} resamples images and not the answers (resampling_fn_probabilities); both must be resampled."
                )
            chosen["output_resampling"] = back
        return chosen

    def _orientation(self) -> str | None:
        """Where the axes of its reader's images point; None: as they are."""
        reader = self.plans.get("image_reader_writer", "SimpleITKIO")
        if reader not in _READERS:
            self.warnings.append(
                f"It was trained on images of another kind (read by {reader}), whose voxels may lie in another order or have "
                "no size in mm: check its answer on a known case."
            )
        return _READERS.get(reader)

    def _normalization(self, channel: int) -> dict[str, Any]:
        """What is done to a channel's intensities."""
        schemes = self.planned["normalization_schemes"]
        if len(schemes) != len(self.channels):
            raise InputError(
                f"The plans of {self.place} are for {len(schemes)} channel(s), and its dataset.json names "
                f"{len(self.channels)} ({', '.join(self.channels)}); give both files of one training."
            )
        name = schemes[channel]
        scheme = _SCHEMES.get(name)
        if scheme is None:
            raise NotSupported(
                f"{self.place} normalises the channel {self.channels[channel]} in a way that is not known here ({name}); "
                f"known are {', '.join(_SCHEMES)}."
            )
        properties = self.plans.get("foreground_intensity_properties_per_channel")
        if properties is None:  # as the plans of the first 2.0 call it
            properties = self.plans.get("foreground_intensity_properties_by_modality", {})
        return scheme(bool(self.planned["use_mask_for_norm"][channel]), properties.get(str(channel), {}))

    def _resampling(self, what: str) -> dict[str, Any] | None:
        """How images ("data") or answers ("probabilities") are resampled; None: not at all."""
        name = self.planned.get(f"resampling_fn_{what}", "resample_data_or_seg_to_shape")
        how = self.planned.get(f"resampling_fn_{what}_kwargs", {})
        modes = (how.get("mode", "linear"), how.get("aniso_axis_mode", "nearest-exact"))
        if name == "no_resampling_hack":
            return None
        chosen: dict[str, Any]
        if name == "resample_data_or_seg_to_shape":
            chosen = {"order": int(how.get("order", 3)), "order_through": int(how.get("order_z", 0)), "clip": True}
        elif name == "resample_torch_fornnunet" and modes == ("linear", "nearest-exact"):
            chosen = {"order": 1, "order_through": 0, "clip": False}
        else:
            raise NotSupported(
                f"{self.place} resamples in a way that is not known here ({name}); known are resample_data_or_seg_to_shape "
                "and resample_torch_fornnunet as nnU-Net's planners set them."
            )
        apart = how.get("force_separate_z", False if name == "resample_data_or_seg_to_shape" else None)
        threshold = float(how.get("separate_z_anisotropy_threshold", _ANISOTROPIC))
        chosen["anisotropy"] = _ALWAYS if apart else threshold
        if apart is False:
            chosen["order_through"] = None
        return chosen


def _configuration(plans: dict[str, Any], name: str, place: Path) -> dict[str, Any]:
    """A configuration's entry in the plans, over those that it inherits from.

    Raises:
        InputError: there is none of this name, or it inherits from itself.
    """
    known = plans.get("configurations")
    known = known if isinstance(known, dict) else {}
    chain: list[dict[str, Any]] = []
    asked, seen = name, set[str]()
    while True:
        found = known.get(asked)
        if not isinstance(found, dict) or asked in seen:
            problem = f"the configuration {asked} inherits from itself" if asked in seen else f"no configuration {asked}"
            raise InputError(f"The plans of {place} are damaged: {problem}; they have {', '.join(known) or 'none at all'}.")
        chain.append(found)
        seen.add(asked)
        if "inherits_from" not in found:
            break
        asked = str(found["inherits_from"])
    return {key: value for entry in reversed(chain) for key, value in entry.items()}


def _channels(dataset: dict[str, Any], warnings: list[str]) -> list[str]:
    """The channels' names in their order, each by another name."""
    named = dataset["channel_names"] if "channel_names" in dataset else dataset["modality"]
    names = [str(name) for _, name in sorted(named.items(), key=lambda item: int(item[0]))]
    if not names:
        raise ValueError("no channels")
    often = Counter(x.lower() for x in names)
    if max(often.values()) == 1:
        return names
    numbered = [x if often[x.lower()] == 1 else f"{x} {n}" for n, x in enumerate(names, 1)]
    warnings.append(f"Several of its channels bear one name; here they are called {', '.join(numbered)}.")
    return numbered


def _classes(dataset: dict[str, Any], place: Path) -> tuple[list[dict[str, Any]], bool]:
    """What the outputs stand for, and whether they are regions that overlap."""
    values = {
        str(name): [int(x) for x in value] if isinstance(value, (list, tuple)) else [int(value)]
        for name, value in dataset["labels"].items()
        if name != "ignore"  # no output stands for it
    }
    if not any(len(x) > 1 for x in values.values()):
        named = {value: name for name, (value,) in reversed(values.items())}
        if sorted(named) != list(range(len(named))):
            raise InputError(f"The labels of {place} are {sorted(named)}; nnU-Net counts them from 0 without gaps.")
        return [{"label": value, "name": named[value]} for value in sorted(named)], False
    regions = {name: value for name, value in values.items() if set(value) != {0}}
    written = [int(x) for x in dataset["regions_class_order"]]
    if len(written) != len(regions) or len(set(written)) != len(written):
        raise InputError(
            f"The dataset.json of {place} has {len(regions)} regions and writes the labels {written} for them "
            "(regions_class_order); it needs a label of its own for each."
        )
    outputs = zip(written, regions.items())
    return [{"label": label, "name": name, "stands_for": value} for label, (name, value) in outputs], True


def _zscore(within_mask: bool, _: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "zscore", "mask": "filled"} if within_mask else {"kind": "zscore"}


def _ct(_: bool, known: dict[str, Any]) -> dict[str, Any]:
    low, high = float(known["percentile_00_5"]), float(known["percentile_99_5"])
    return {
        "kind": "window",
        "lower": low,
        "upper": high,
        "mean": float(known["mean"]),
        "std": max(float(known["std"]), 1e-8),
    }


_SCHEMES: dict[str, Callable[[bool, dict[str, Any]], dict[str, Any]]] = {
    "ZScoreNormalization": _zscore,
    "CTNormalization": _ct,
    "NoNormalization": lambda *_: {"kind": "window"},
    "RescaleTo01Normalization": lambda *_: {"kind": "rescale"},
    "RGBTo01Normalization": lambda *_: {"kind": "window", "std": 255.0},
}
"""nnU-Net's ways to normalise: what each does, given whether only what is not 0 counts, and the training's numbers."""
