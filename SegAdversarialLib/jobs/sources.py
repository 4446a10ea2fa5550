"""What jobs are made of: where cases come from, and what a job says of its output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from SegAdversarialLib.formats.settings import Strict
from SegAdversarialLib.formats.source import ModelSource
from SegAdversarialLib.volumes.files import split_choice


class PhantomSource(Strict):
    """A synthetic subject."""

    seed: int = Field(7, ge=0, description="Which subject.")
    shape: tuple[int, int, int] = Field((64, 64, 64), description="Slices, rows, columns.")


class CaseSource(Strict):
    """Where a subject comes from: image files, or the phantom."""

    channels: dict[str, str] = Field(
        default_factory=dict, description='A file for each channel name; "A,B,C" names a file of three channels.'
    )
    label: str | None = Field(None, description="Reference label map, or a segmentation of Slicer's (.seg.nrrd).")
    label_names: dict[str, str] = Field(
        default_factory=dict,
        description='Which class of the network a segment or label value is, where names do not say: {"left": "kidney_left"}.',
    )
    name: str = Field("", description="The subject's name; none: what its files' names begin with, or else the folder.")
    resample: bool = Field(False, description="Put everything onto the first channel's grid.")
    replace_nonfinite: float | None = Field(None, description="What takes the place of NaN and infinities; none: refused.")
    prefer: Literal["sform", "qform"] | None = Field(
        None,
        description="The position to take of a NIfTI file that gives two; none: two that contradict each other are refused.",
    )
    n4: bool = Field(False, description="Correct the bias field of MR images (N4); what comes out counts as the images.")
    phantom: PhantomSource | None = Field(None, description="A synthetic subject instead of files.")

    @model_validator(mode="after")
    def _one_source(self) -> CaseSource:
        if bool(self.channels) == (self.phantom is not None):
            raise ValueError("a case needs image files for its channels, or else a phantom")
        repairs = self.label or self.label_names or self.resample or self.replace_nonfinite is not None or self.prefer
        if self.phantom is not None and repairs:
            raise ValueError("a phantom brings its own label map and needs no repair; leave label, resample and the like out")
        if self.label_names and not self.label:
            raise ValueError("label names belong to a reference; give one (label), or leave them out")
        return self

    @property
    def needs_classes(self) -> bool:
        """Whether what its reference means may depend on the network's classes."""
        return bool(self.label_names) or (self.label or "").lower().endswith((".nrrd", ".nhdr"))

    @property
    def files(self) -> list[Path]:
        """All the files and folders that are read."""
        return [split_choice(x)[0] for x in (*self.channels.values(), *([self.label] if self.label else []))]

    def anywhere(self) -> CaseSource:
        """The same with absolute paths."""
        files = {name: _absolute(path) for name, path in self.channels.items()}
        return self.model_copy(update={"channels": files, "label": _absolute(self.label)})


class WithOutput(Strict):
    """What every job says: where its results go."""

    output: str = Field(min_length=1, description="Folder for the results.")

    def anywhere(self) -> Self:
        """The same job with absolute paths, so that it can be run again from any folder."""
        changes: dict[str, Any] = {"output": _absolute(self.output)}
        if isinstance(case := getattr(self, "case", None), CaseSource):
            changes["case"] = case.anywhere()
        if cases := getattr(self, "cases", None):
            changes["cases"] = tuple(case.anywhere() for case in cases)
        if attacks := getattr(self, "attacks", None):
            changes["attacks"] = tuple(_attack_anywhere(attack) for attack in attacks)
        if isinstance(model := getattr(self, "model", None), ModelSource):
            changes["model"] = model.anywhere()
        if isinstance(adversarial := getattr(self, "adversarial", None), dict):
            changes["adversarial"] = {name: _absolute(path) for name, path in adversarial.items()}
        for name in ("scene", "start"):
            if hasattr(self, name):
                changes[name] = _absolute(getattr(self, name))
        return self.model_copy(update=changes)


class Overwriting(Strict):
    """A job that may take away what lies in its folder."""

    overwrite: bool = Field(
        False, description="Take away what earlier jobs left in the output folder, as a whole, once this one has a result."
    )


class WithVolumes(WithOutput):
    """A job that writes volumes."""

    ending: Literal[".nii.gz", ".nrrd"] = Field(
        ".nii.gz", description="Format of the volumes written: .nii.gz (compressed) or .nrrd (not compressed, quick)."
    )


def files_of(attack: Mapping[str, Any]) -> dict[str, Path]:
    """The files and folders that an attack's configuration names, by the setting that does."""
    found = {}
    for key in ("region", "target", "source", "perturbation", "generator"):
        path = attack.get(key)
        # a class or a kind of region may be called like a file that lies here, but no class ends like one
        if isinstance(path, str) and (key == "source" or Path(path).suffix) and Path(path).exists():
            found[key] = Path(path)
    return found


def _attack_anywhere(attack: dict[str, Any]) -> dict[str, Any]:
    """An attack's configuration with absolute paths of the files that it names; other words stay what they are."""
    return {**attack, **{key: _absolute(str(path)) for key, path in files_of(attack).items()}}


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).absolute())
