"""What a job is to do, as validated data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from SegAdversarialLib.errors import InputError, first_problem
from SegAdversarialLib.volumes.files import split_choice

DEFAULT_MODEL = "builtin:brain-tumour-phantom"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSource(_Strict):
    """Which network, and what is not in its own settings file."""

    path: str = Field(DEFAULT_MODEL, description="Network file, or a built-in network's name.")
    trust: bool = Field(False, description="The file's source is trusted: programs (TorchScript) open only then.")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps.")
    settings: str | None = Field(None, description="JSON file with its settings; none: the one beside it.")
    changes: dict[str, Any] = Field(default_factory=dict, description="Settings that take the place of the file's.")


class PhantomSource(_Strict):
    """A synthetic subject."""

    seed: int = Field(7, ge=0, description="Which subject.")
    shape: tuple[int, int, int] = Field((64, 64, 64), description="Slices, rows, columns.")


class CaseSource(_Strict):
    """Where a subject comes from: image files, or the phantom."""

    channels: dict[str, str] = Field(
        default_factory=dict, description='A file for each channel name; "A,B,C" names a file of three channels.'
    )
    label: str | None = Field(None, description="Reference label map, or a segmentation of Slicer's (.seg.nrrd).")
    label_names: dict[str, str] = Field(
        default_factory=dict,
        description='Which class of the network a segment or label value is, where names do not say: {"left": "kidney_left"}.',
    )
    name: str = Field("", description="The subject's name; none: the first file's folder.")
    resample: bool = Field(False, description="Put everything onto the first channel's grid.")
    replace_nonfinite: float | None = Field(None, description="What takes the place of NaN and infinities; none: refused.")
    prefer: Literal["sform", "qform"] | None = Field(
        None,
        description="The position to take of a NIfTI file that gives two; none: two that contradict each other are refused.",
    )
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


class _WithOutput(_Strict):
    output: str = Field(description="Folder for the results.")

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
            path = model.path if model.path.startswith("builtin:") else _absolute(model.path)
            changes["model"] = model.model_copy(update={"path": path, "settings": _absolute(model.settings)})
        if isinstance(adversarial := getattr(self, "adversarial", None), dict):
            changes["adversarial"] = {name: _absolute(path) for name, path in adversarial.items()}
        for name in ("scene", "start"):
            if hasattr(self, name):
                changes[name] = _absolute(getattr(self, name))
        return self.model_copy(update=changes)


class _Overwriting(_Strict):
    overwrite: bool = Field(
        False, description="Take away what earlier jobs left in the output folder, as a whole, once this one has a result."
    )


class _WithVolumes(_WithOutput):
    ending: Literal[".nii.gz", ".nrrd"] = Field(
        ".nii.gz", description="Format of the volumes written: .nii.gz (compressed) or .nrrd (not compressed, quick)."
    )


class PhantomJob(_WithVolumes):
    """Write synthetic subjects as image files."""

    kind: Literal["phantom"] = "phantom"
    seeds: tuple[int, ...] = Field((7,), min_length=1, description="Which subjects.")
    shape: tuple[int, int, int] = Field((64, 64, 64), description="Slices, rows, columns.")


class SegmentJob(_Overwriting, _WithVolumes):
    """Segment a case."""

    kind: Literal["segment"] = "segment"
    model: ModelSource = ModelSource()
    case: CaseSource


class AttackJob(_Overwriting, _WithVolumes):
    """Attack a case, with one attack or several, and measure what each has done."""

    kind: Literal["attack"] = "attack"
    model: ModelSource = ModelSource()
    case: CaseSource
    attacks: tuple[dict[str, Any], ...] = Field(
        min_length=1, description='Configurations, each with its name: {"attack": "fgsm", "epsilon": 0.05}.'
    )
    each_channel: bool = Field(False, description="Also run every attack on each single channel.")
    regions: dict[str, tuple[int, ...]] | None = Field(
        None, description="Structures to measure beside the network's own, as label values; none: BraTS' where they apply."
    )
    scene: str | None = Field(None, description="Slicer scene (.mrb) to write.")
    pictures: bool = Field(False, description="Also write pictures of the slice views.")


class EvaluateJob(_Overwriting, _WithVolumes):
    """Measure what any change of a case's images, however it was made, does to a network's answer and to the images."""

    kind: Literal["evaluate"] = "evaluate"
    model: ModelSource = ModelSource()
    case: CaseSource
    adversarial: dict[str, str] = Field(
        min_length=1, description="A file for each changed channel, on the case's grid; channels left out are unchanged."
    )
    regions: dict[str, tuple[int, ...]] | None = Field(
        None, description="Structures to measure beside the network's own, as label values; none: BraTS' where they apply."
    )


class LearnUniversalJob(_Overwriting, _WithOutput):
    """Learn a universal perturbation on a network and a set of cases."""

    kind: Literal["learn-universal"] = "learn-universal"
    model: ModelSource = ModelSource()
    cases: tuple[CaseSource, ...] = Field(min_length=1, description="What it is learned from; each is read when it is needed.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description='Those of the attack and of learning it: {"epsilon": 0.02, "epochs": 10}.'
    )

    @field_validator("settings")
    @classmethod
    def _settings_only(cls, settings: dict[str, Any]) -> dict[str, Any]:
        other = {"model", "cases", "progress", "cancel"} & set(settings)
        if other:
            raise ValueError(f"there is no setting {sorted(other)[0]}")
        return settings


class TrainGeneratorJob(_WithOutput):
    """Train a generator of adversarial images against a network; run again, it goes on where its folder says it stood."""

    kind: Literal["train-generator"] = "train-generator"
    model: ModelSource = ModelSource()
    cases: tuple[CaseSource, ...] = Field(min_length=1, description="What it is trained on; each is read when it is needed.")
    settings: dict[str, Any] = Field(default_factory=dict, description='How it is trained: {"epochs": 50}.')
    generator: dict[str, Any] = Field(
        default_factory=dict, description='What it is made of, where not as usual: {"features": [16, 32]}.'
    )
    start: str | None = Field(None, description="File of an earlier generator to go on from.")


AnyJob = PhantomJob | SegmentJob | AttackJob | EvaluateJob | LearnUniversalJob | TrainGeneratorJob
Job = Annotated[AnyJob, Field(discriminator="kind")]


def read_job(path: str | Path) -> AnyJob:
    """Read a job's specification from a JSON file.

    Raises:
        InputError: the file is missing, no JSON, or says something that no job takes.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no job file {path}; check the path.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"The job file {path} is no readable JSON ({error}).") from error
    return make_job(data, f"The job file {path}")


def make_job(data: Any, what: str = "The job") -> AnyJob:
    """A job from its specification as JSON data; `what` is how errors call it.

    Raises:
        InputError: it says something that no job takes.
    """
    try:
        return TypeAdapter(Job).validate_python(data)
    except ValidationError as error:
        raise InputError(f"{what}: {first_problem(error)}") from None


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
