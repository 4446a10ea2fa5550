"""One case of a cohort: where it is and how it is read, as plain data; nothing is loaded before it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.structures.output_head import OutputHead


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PhantomSubject(_Strict):
    """A synthetic subject."""

    seed: int = Field(ge=0, description="Which subject.")
    shape: tuple[int, int, int] = Field((64, 64, 64), description="Slices, rows, columns.")


class Entry(_Strict):
    """A case that has not been read yet."""

    name: str = Field(description="The case's name, different from all others of its cohort.")
    patient: str = Field(description="Whose case it is; several cases may be of one patient.")
    channels: dict[str, str] = Field(
        default_factory=dict, description='A file for each channel name; "A,B,C" names a file of three channels.'
    )
    label: str | None = Field(None, description="Reference label map; none: there is no reference.")
    label_names: dict[str, str] = Field(default_factory=dict, description="What the label values are called.")
    resample: bool = Field(False, description="Put everything onto the first channel's grid.")
    replace_nonfinite: float | None = Field(None, description="What takes the place of NaN and infinities; none: refused.")
    prefer: Literal["sform", "qform"] | None = Field(None, description="The position to take of NIfTI files that give two.")
    phantom: PhantomSubject | None = Field(None, description="A synthetic subject instead of files.")
    problem: str = Field("", description="What is wrong with it already before it is read; nothing: no more is known.")

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The names of its channels, in the order in which they are read."""
        if self.phantom is not None:
            from SegAdversarialLib.phantom import CHANNELS

            return CHANNELS
        return tuple(name.strip() for key in self.channels for name in key.split(","))

    @property
    def names(self) -> dict[str, str]:
        """What its label values are called, as far as that is known before it is read."""
        if self.phantom is not None:
            from SegAdversarialLib.phantom import LABEL_NAMES

            return {str(value): name for value, name in LABEL_NAMES.items()}
        return self.label_names

    @property
    def has_reference(self) -> bool:
        """Whether it comes with a reference."""
        return self.phantom is not None or self.label is not None

    def read(self, head: OutputHead | None = None) -> Case:
        """Read the case, or make the synthetic subject.

        Args:
            head: the classes of the network that it is read for (`model.head`): the labels become those of the network.

        Raises:
            InputError: `problem` says what is wrong, or reading finds it (`Case.read`).
        """
        if self.problem:
            raise InputError(f"{self.name}: {self.problem}.")
        if self.phantom is not None:
            from SegAdversarialLib import phantom

            case = phantom.subject(self.phantom.seed, self.phantom.shape)
            return case if head is None else case.in_terms_of(head)
        return Case.read(
            dict(self.channels),
            self.label,
            label_names=self.label_names if self.label is not None else None,
            name=self.name,
            resample=self.resample,
            replace_nonfinite=self.replace_nonfinite,
            prefer=self.prefer,
            head=head,
        )

    def source(self) -> dict[str, Any]:
        """What a job's specification says to read this case (the fields of `jobs.CaseSource`)."""
        if self.phantom is not None:
            return {"name": self.name, "phantom": self.phantom.model_dump(mode="json")}
        left_out = {"patient", "problem", "phantom"} | (set() if self.label is not None else {"label_names"})
        return self.model_dump(mode="json", exclude=left_out, exclude_defaults=True)
