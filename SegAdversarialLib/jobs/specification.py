"""What a job is to do, as validated data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from SegAdversarialLib.errors import InputError, first_problem
from SegAdversarialLib.formats.source import ModelSource
from SegAdversarialLib.jobs.audit_job import AuditJob
from SegAdversarialLib.jobs.certify_job import CertifyJob
from SegAdversarialLib.jobs.sources import CaseSource, Overwriting, WithOutput, WithVolumes
from SegAdversarialLib.jobs.study_job import StudyJob
from SegAdversarialLib.jobs.train_job import TrainJob
from SegAdversarialLib.volumes.files import is_file
from SegAdversarialLib.volumes.json_data import read_object


class PhantomJob(WithVolumes):
    """Write synthetic subjects as image files."""

    kind: Literal["phantom"] = "phantom"
    seeds: tuple[int, ...] = Field((7,), min_length=1, description="Which subjects.")
    shape: tuple[int, int, int] = Field((64, 64, 64), description="Slices, rows, columns.")


class SegmentJob(Overwriting, WithVolumes):
    """Segment a case."""

    kind: Literal["segment"] = "segment"
    model: ModelSource = ModelSource()
    case: CaseSource


class AttackJob(Overwriting, WithVolumes):
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


class EvaluateJob(Overwriting, WithVolumes):
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


class LearnUniversalJob(Overwriting, WithOutput):
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


class TrainGeneratorJob(WithOutput):
    """Train a generator of adversarial images against a network; run again, it goes on where its folder says it stood."""

    kind: Literal["train-generator"] = "train-generator"
    model: ModelSource = ModelSource()
    cases: tuple[CaseSource, ...] = Field(min_length=1, description="What it is trained on; each is read when it is needed.")
    settings: dict[str, Any] = Field(default_factory=dict, description='How it is trained: {"epochs": 50}.')
    generator: dict[str, Any] = Field(
        default_factory=dict, description='What it is made of, where not as usual: {"features": [16, 32]}.'
    )
    start: str | None = Field(None, description="File of an earlier generator to go on from.")


AnyJob = (
    PhantomJob
    | SegmentJob
    | AttackJob
    | EvaluateJob
    | CertifyJob
    | LearnUniversalJob
    | TrainGeneratorJob
    | TrainJob
    | AuditJob
    | StudyJob
)
Job = Annotated[AnyJob, Field(discriminator="kind")]


def read_job(path: str | Path) -> AnyJob:
    """Read a job's specification from a JSON file.

    Raises:
        InputError: the file is missing, no JSON, or says something that no job takes.
    """
    if Path(path).suffix.lower() in (".yaml", ".yml") and is_file(Path(path)):
        raise InputError(f"{path} is a YAML file, not a job's JSON file; a study is run by segadversarial study run {path}.")
    return make_job(read_object(Path(path), "job file"), f"The job file {path}")


def make_job(data: Any, what: str = "The job") -> AnyJob:
    """A job from its specification as JSON data; `what` is how errors call it.

    Raises:
        InputError: it says something that no job takes.
    """
    try:
        return TypeAdapter(Job).validate_python(data)
    except ValidationError as error:
        raise InputError(f"{what}: {first_problem(error)}") from None
