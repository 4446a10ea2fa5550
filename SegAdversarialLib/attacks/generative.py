"""The learned attack: deformations and intensity variations that a trained generator makes up for a case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import WithJsonSchema, field_serializer, field_validator

from SegAdversarialLib.attacks.attack import Attack, Found
from SegAdversarialLib.attacks.cost import Cost
from SegAdversarialLib.attacks.groups import Group
from SegAdversarialLib.attacks.settings import parameter
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.networks.generator import Generator
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import is_file

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.attacks.engine.run import AttackRun
    from SegAdversarialLib.model.segmentation_model import SegmentationModel
    from SegAdversarialLib.networks.generator import BoundGenerator, GeneratorSettings, Variation

_BUILTIN = "builtin:brain-tumour-phantom"


class GenerativeAttack(Attack):
    """Learned attack: a generator draws smooth deformations and intensities, which lower Dice by a set amount.

    I_DV = warp(I_0, D) + V (Chen et al. 2019, eq. 1), D and V from a VAE-GAN that `train_generator` has trained against a
    network. Of several draws from its latents the one with the lowest Dice is kept. The reference moves with the deformation,
    so that a network that follows the anatomy is not called wrong.
    """

    name: ClassVar[str] = "generative"
    title: ClassVar[str] = "Learned generator"
    groups: ClassVar[tuple[Group, ...]] = ("paper", "realistic")
    works_itself: ClassVar[bool] = True
    citation: ClassVar[str] = "Chen et al. 2019, Intelligent image synthesis to attack a segmentation CNN (VAE-GAN)"
    needs: ClassVar[str] = "generator"
    bounds: ClassVar[tuple[str, ...]] = ("xi",)

    generator: Annotated[Any, WithJsonSchema({"type": "string"})] = parameter(
        _BUILTIN,
        "File of the generator (.safetensors), as train-generator has written it, or a built-in one's name.",
        choose="generator",
    )
    xi: float | None = parameter(
        2.0,
        "How much the answer should change: the cross-entropy in the structures that the generator aims at; none: the most "
        "that it was trained for.",
        "nats",
        label="Strength xi",
        ge=0,
    )
    parts: Literal["both", "deformation", "intensity"] = parameter(
        "both",
        "What is done: the deformation, the intensity variation, or both.",
        texts={"both": "deformation and intensity", "deformation": "deformation only", "intensity": "intensity only"},
    )
    samples: int = parameter(5, "How many versions are drawn.", "draws", label="Draws", ge=1, le=10000)
    keep: Literal["worst", "all"] = parameter(
        "worst",
        "worst: only the draw with the lowest Dice; all: the others as snapshots as well.",
        advanced=True,
        texts={"worst": "the worst draw", "all": "all draws as iterations"},
    )
    scale: float = parameter(
        1.0, "What both fields are multiplied by; 0 changes nothing.", "factor", advanced=True, ge=0, le=1
    )
    fingerprint: Annotated[str | None, WithJsonSchema({"type": "string"})] = parameter(
        None, "The generator's fingerprint, as results tell it: another generator is refused; none: any.", advanced=True
    )

    @field_validator("generator", mode="after")
    @classmethod
    def _generator_is_file_or_object(cls, given: Any) -> Any:
        if isinstance(given, Generator):
            return given
        if (isinstance(given, str) and given.strip()) or hasattr(given, "__fspath__"):
            return str(given).strip()
        raise ValueError("generator must be a file, a built-in generator's name or a Generator")

    @field_validator("fingerprint", mode="after")
    @classmethod
    def _no_fingerprint_is_any(cls, given: str | None) -> str | None:
        return given or None

    @field_serializer("generator")
    def _generator_as_data(self, given: Any) -> Any:
        return {"fingerprint": given.fingerprint} if isinstance(given, Generator) else given

    @property
    def cost(self) -> Cost:
        """An answer to each draw."""
        return Cost(answers=self.samples)

    @property
    def does_nothing(self) -> bool:
        """Whether the scale or xi is zero."""
        return self.scale == 0 or self.xi == 0

    @property
    def is_random(self) -> bool:
        """Whether anything is drawn."""
        return not self.does_nothing

    def bound(self, name: str) -> float:
        """xi, or the greatest that the generator was trained for."""
        return self._wanted(self.trained().settings)

    def least_bound(self, name: str) -> float:
        """The least xi that the generator was trained for."""
        return float(self.trained().settings.xi[0])

    def trained(self) -> Generator:
        """The generator.

        Raises:
            InputError: its file is missing, damaged or another one than the fingerprint says.
        """
        from SegAdversarialLib.formats import builtin

        found = self.generator
        if not isinstance(found, Generator):
            found = Generator.read(builtin.generator_file(found) if builtin.is_builtin(found) else found)
        if self.fingerprint is not None and found.fingerprint != self.fingerprint:
            raise InputError(
                f"The generator {self._source} is another one (fingerprint {found.fingerprint}) than was asked for "
                f"({self.fingerprint}); give the right file, or no fingerprint."
            )
        return found

    def check(self, model: SegmentationModel | None, case: Case) -> None:
        """Also whether the generator fits the case, and xi the generator."""
        generator = self.trained()
        generator.check(case)
        self._wanted(generator.settings)
        super().check(model, case)

    def attacked_channels(self, model: SegmentationModel | None, case: Case) -> list[int]:
        """The positions of the case's channels that may differ afterwards: all of them where the anatomy moves, else those
        of the generator, or fewer.

        Raises:
            InputError: the case, the network or the generator lacks one that was chosen, or some are to move and others not.
        """
        generator = self.trained()
        positions, known = super().attacked_channels(model, case), generator.positions(case)
        lacking = [case.channels[n] for n in positions if n not in known]
        if lacking and self.channels is not None:
            raise InputError(
                f"The generator {self._source} has no channel {', '.join(lacking)}; it has "
                f"{', '.join(generator.settings.channels)}."
            )
        if self.parts == "intensity":
            return [n for n in positions if n in known]
        if self.channels is not None and len(positions) < len(case.channels):
            raise InputError(
                f"A deformation moves all channels of {case.name or 'the case'} ({', '.join(case.channels)}); choose no "
                "channels, or all of them, or the intensity part alone."
            )
        return list(range(len(case.channels)))

    def describe(self) -> dict[str, Any]:
        """The configuration as plain JSON data, the fingerprint of a generator's file included."""
        described = super().describe()
        if isinstance(self.generator, str) and is_file(Path(self.generator)):
            described["fingerprint"] = self.trained().fingerprint
        return described

    def _budget_in_words(self) -> str:
        words = {"both": "", "deformation": "deformation only", "intensity": "intensity only"}[self.parts]
        scaled = "" if self.scale == 1 else f"times {self.scale:g}"
        return ", ".join(x for x in ("greatest xi" if self.xi is None else f"xi {self.xi:g}", words, scaled) if x)

    def _search(self, run: AttackRun) -> Found:
        import torch

        trained = self.trained()
        makes = trained.to(run.original).on(run.case, run.original)
        judge, worst = _Judge(self, run, makes), None
        with torch.no_grad():
            for number in range(self.samples):
                run.report(number / self.samples, f"{self.title}: draw {number + 1} of {self.samples}")
                draw = judge(number, self._variation(makes, run.generator(number), run.case))
                if worst is None or draw.dice < worst.dice:
                    worst = draw
        assert worst is not None
        run.kept_iteration = worst.number
        return worst.found(run)

    def _variation(self, makes: BoundGenerator, source: torch.Generator, case: Case) -> Variation:
        """One draw, within the region, within the bounds and without folds, which only a region's border could make."""
        import torch

        from SegAdversarialLib.changes.fields import limited_displacement, taper
        from SegAdversarialLib.networks.generator import Variation

        made_of, xi, mask = makes.settings, self._wanted(makes.settings), self.region_mask(case)
        drawn = makes.decode(makes.encode(xi), makes.noise(source), xi)
        displacement, intensity = self._share("deformation") * drawn.displacement, self._share("intensity") * drawn.intensity
        if mask is not None:
            window = torch.from_numpy(taper(mask, case.affine, made_of.smoothing)).to(displacement)
            displacement, intensity = displacement * window, intensity * window
        longest = self.scale * made_of.largest_displacement
        limited, _ = limited_displacement(lambda share: share * displacement, case.affine, longest)
        return Variation(limited, intensity)

    def _share(self, part: Literal["deformation", "intensity"]) -> float:
        return self.scale if self.parts in ("both", part) else 0.0

    def _wanted(self, made_of: GeneratorSettings) -> float:
        """xi, which the generator must have been trained for; 0 is nothing, whatever it was trained for."""
        least, greatest = made_of.xi
        if self.xi is None:
            return greatest
        if not (least <= self.xi <= greatest or (self.xi == 0 and made_of.conditional)):
            trained = f"from {least:g} to {greatest:g}" if made_of.conditional else f"of {greatest:g}"
            raise InputError(f"The generator {self._source} was trained for xi {trained}, not {self.xi:g}; give such a value.")
        return self.xi

    @property
    def _source(self) -> str:
        return self.generator if isinstance(self.generator, str) else "that was given"


@dataclass(frozen=True, eq=False)
class _Draw:
    """One version of the case: what was done, what the network's Dice is then, and the image."""

    number: int
    dice: float
    image: torch.Tensor
    displacement: torch.Tensor

    def found(self, run: AttackRun) -> Found:
        """What the search comes back with."""
        field = self.displacement.to("cpu").float().numpy() if self.displacement.any() else None
        adversarial = run.case.with_image(run.finished_image(self.image))
        perturbation = Perturbation.between(run.case, adversarial, displacement=field)
        label = None if field is None else Perturbation(displacement=field).apply(run.case, warp_label=True).label
        return Found(self.image, perturbation, label)


class _Judge:
    """Asks the network about draws: Dice against the reference (or else the network's clean answer), moved with the image."""

    def __init__(self, attack: GenerativeAttack, run: AttackRun, makes: BoundGenerator) -> None:
        from SegAdversarialLib.attacks.engine.moving import MovedMasks

        self._attack, self._run, self._makes = attack, run, makes
        masks = run.clean_masks if run.case.label is None else run.label_masks
        self._reference = MovedMasks(masks, run.case.affine, run.original.dtype)

    def __call__(self, number: int, variation: Variation) -> _Draw:
        from SegAdversarialLib.attacks.engine.dice import DiceMeter

        run = self._run
        image = run.finish(run.keep_to_range(self._makes.apply(variation, clip=False)))
        logits = run.ask(image)
        targets = self._reference.hard(variation.displacement if variation.displacement.any() else None)
        dice = DiceMeter(targets, run.head.foreground).mean(run.head.predicted(logits))
        run.record(0, number, self._loss(logits, targets), logits, image, targets)
        if self._attack.keep == "all":
            run.snapshots.append(run.keep_snapshot(number, image, logits))
        return _Draw(number, dice, image, variation.displacement)

    def _loss(self, logits: torch.Tensor, targets: torch.Tensor) -> float:
        """The masked cross-entropy, which xi speaks of; here against the reference."""
        from SegAdversarialLib.objectives import MaskedCrossEntropy

        objective = MaskedCrossEntropy(targets.cpu().numpy())
        return float(objective.bind(self._run.head, logits.device, logits.dtype)(logits))
