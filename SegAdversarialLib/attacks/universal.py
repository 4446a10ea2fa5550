"""A universal perturbation that was learned: one pattern for every subject of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import ValidationError, WithJsonSchema, field_serializer, field_validator

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.attacks.additive import EPSILON_UNIT, AdditiveAttack
from SegAdversarialLib.attacks.engine.pattern import Cases, Pattern
from SegAdversarialLib.attacks.groups import Group
from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback, first_problem
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import is_file

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.model.segmentation_model import SegmentationModel


class UniversalPerturbation(AdditiveAttack):
    """Learned universal perturbation: one pattern, learned over a set of cases, added to any other case of the same grid.

    X + epsilon * P, P in [-1, 1] with one value for each voxel and channel, which asks no network when it is applied. `learn`
    finds P by stochastic sign steps over the cases (the aim of Moosavi-Dezfooli et al. 2017, by the gradient steps of Shafahi
    et al. 2020). Relative epsilon means a share of each subject's largest intensity, so that one pattern fits all.
    """

    name: ClassVar[str] = "universal-perturbation"
    title: ClassVar[str] = "Learned universal perturbation"
    citation: ClassVar[str] = "Moosavi-Dezfooli et al. 2017, CVPR; learned as in Shafahi et al. 2020, AAAI"
    groups: ClassVar[tuple[Group, ...]] = ("black-box",)
    asks_network: ClassVar[bool] = False
    needs: ClassVar[str] = "perturbation"

    epsilon: float = parameter(0.02, "Largest change of a voxel.", EPSILON_UNIT, ge=0)
    perturbation: Annotated[Any, WithJsonSchema({"type": "string"})] = parameter(
        None,
        "File of the perturbation (.safetensors), as learning it has written it.",
        choose="pattern",
        label="Perturbation",
    )
    fingerprint: Annotated[str | None, WithJsonSchema({"type": "string"})] = parameter(
        None, "The perturbation's fingerprint, as results tell it: another perturbation is refused; none: any.", advanced=True
    )

    @field_validator("perturbation", mode="after")
    @classmethod
    def _perturbation_is_file_or_pattern(cls, given: Any) -> Any:
        if given is None or isinstance(given, Pattern):
            return given
        if isinstance(given, np.ndarray):
            return Pattern(given)
        if isinstance(given, str) or hasattr(given, "__fspath__"):
            return str(given).strip() or None
        raise ValueError("perturbation must be a file, a Pattern or an array (C, K, J, I) of values in [-1, 1]")

    @field_validator("fingerprint", mode="after")
    @classmethod
    def _no_fingerprint_is_any(cls, given: str | None) -> str | None:
        return given or None

    @field_serializer("perturbation")
    def _perturbation_as_data(self, given: Any) -> Any:
        if not isinstance(given, Pattern):
            return given
        return {"channels": list(given.channels), "shape": list(given.values.shape), "fingerprint": given.fingerprint}

    @classmethod
    @checked
    def learn(
        cls,
        model: SegmentationModel,
        cases: Cases,
        *,
        progress: ProgressCallback | None = None,
        cancel: CancelCheck | None = None,
        **settings: Any,
    ) -> UniversalPerturbation:
        """Learn a perturbation on a network and a set of cases of one grid.

        Memory is that of one case and two volumes of the pattern's size, however many cases there are, if these are read one
        by one: by a function, or by a sequence that reads an item when it is asked for it.

        Args:
            model: the network that is differentiated.
            cases: the cases; a sequence is gone through in a random order in each epoch, a function in its own.
            progress: called with the finished fraction and a text.
            cancel: asked between gradients and windows; True ends learning with `Cancelled`.
            settings: those of the attack (epsilon, epsilon_units, channels, region, clip, seed), which the result has too
                (but not region, which has done its work), and those of `Learning` (loss, against, classes, epochs,
                step_size, momentum).

        Returns:
            The attack with its pattern; `save` writes it to a file.

        Raises:
            InputError: a setting is wrong, there are no cases, or they do not fit each other or the network.
            Cancelled: `cancel` said so.
        """
        from SegAdversarialLib.attacks.engine.universal_learning import Learning, learn_pattern

        refused = {"perturbation", "fingerprint"} & set(settings)
        if refused:
            raise InputError(f"{refused.pop()} is what learning gives; leave it out.")
        attack = cls(**{key: value for key, value in settings.items() if key in cls.model_fields})
        try:
            how = Learning(**{key: value for key, value in settings.items() if key not in cls.model_fields})
        except ValidationError as error:
            raise InputError(f"{cls.title}: {first_problem(error)}") from None
        pattern = learn_pattern(attack, how, model, cases, progress, cancel)
        return attack.model_copy(update={"perturbation": pattern, "region": None})

    def save(self, path: str | Path) -> UniversalPerturbation:
        """Write the pattern to a safetensors file; the same attack, which reads it from there.

        Raises:
            InputError: there is no pattern, or the file cannot be written.
        """
        pattern = self.pattern()
        pattern.write(path)
        return self.model_copy(update={"perturbation": str(path), "fingerprint": pattern.fingerprint})

    def pattern(self) -> Pattern:
        """What it adds for each unit of epsilon.

        Raises:
            InputError: none was given, or its file is missing, damaged or another one than the fingerprint says.
        """
        if self.perturbation is None:
            raise InputError(
                f"{self.title} needs the file of a perturbation (perturbation=FILE); learn one with the command "
                "learn-universal, or UniversalPerturbation.learn."
            )
        pattern = self.perturbation if isinstance(self.perturbation, Pattern) else Pattern.read(self.perturbation)
        if self.fingerprint is not None and pattern.fingerprint != self.fingerprint:
            raise InputError(
                f"The perturbation {self._source} is another one (fingerprint {pattern.fingerprint}) than was asked for "
                f"({self.fingerprint}); give the right file, or no fingerprint."
            )
        return pattern

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Also whether there is a perturbation, and whether it fits the case's grid and channels."""
        shape = self.pattern().values.shape[1:]
        super().check(model, case)
        if shape != case.shape:
            raise InputError(
                f"The perturbation {self._source} was learned on {_sizes(shape)} voxels, {case.called} has "
                f"{_sizes(case.shape)}; it fits cases of its own size only: resample them, or learn another one."
            )

    def attacked_channels(self, model: SegmentationModel | None, case: Case) -> list[int]:
        """The positions of the case's channels that are attacked: those of the perturbation, or fewer.

        Raises:
            InputError: the case, the network or the perturbation lacks one that was chosen, or has none at all.
        """
        positions = super().attacked_channels(model, case)
        if self.perturbation is None:
            return positions
        known = self._places(case)
        if self.channels is not None:
            lacking = [case.channels[n] for n in positions if n not in known]
            if lacking:
                raise InputError(
                    f"The perturbation {self._source} has no channel {', '.join(lacking)}; it has "
                    f"{', '.join(self.pattern().channels) or len(self.pattern().values)}."
                )
            return positions
        positions = [n for n in positions if n in known]
        if not positions:
            raise InputError(
                f"The perturbation {self._source} is for {', '.join(self.pattern().channels)}, of which the network takes, or "
                f"{case.called} has, none."
            )
        return positions

    def describe(self) -> dict[str, Any]:
        """The configuration as plain JSON data, the perturbation's fingerprint included."""
        described = super().describe()
        if isinstance(self.perturbation, str) and is_file(Path(self.perturbation)):
            described["fingerprint"] = self.pattern().fingerprint
        return described

    def _search(self, run: AttackRun) -> torch.Tensor:
        import torch

        pattern, places = self.pattern(), self._places(run.case)
        image = run.original.clone()
        for done, position in enumerate(run.positions):
            run.report(done / len(run.positions), f"{self.title}: {run.case.channels[position]}")
            values = torch.from_numpy(pattern.values[places[position]]).to(image)
            image[position] += values * (self.epsilon * run.unit[position])
        return run.project(image)

    def _places(self, case: Case) -> dict[int, int]:
        """Where in the pattern each of the case's channels is, by position; without those that it lacks."""
        pattern = self.pattern()
        if not pattern.channels:
            if len(pattern.values) != len(case.channels):
                raise InputError(
                    f"The perturbation has {len(pattern.values)} channel(s) without names, {case.called} "
                    f"{len(case.channels)}; both must agree."
                )
            return {n: n for n in range(len(case.channels))}
        named = {name.lower(): n for n, name in enumerate(pattern.channels)}
        return {n: named[name.lower()] for n, name in enumerate(case.channels) if name.lower() in named}

    @property
    def _source(self) -> str:
        return self.perturbation if isinstance(self.perturbation, str) else "that was given"


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
