"""The losses of Chen et al.'s generator of adversarial images, and of its critic.

    L_gen  = critic_weight (f(I_0) - f(I_DV)) + (xi - H(S_0, S_DV))^2 + lambda_D |D|^2 + lambda_V |V|^2 + kl_weight KL
    L_disc = f(I_DV) - f(I_0), the critic's weights clipped                              (Chen et al. 2019, eq. 2 to 6)

f is the critic, S the network's probabilities, H the cross-entropy masked to the foreground of S_0 (eq. 5) and averaged over
it. The paper writes no divergence term, but calls its generator a variational autoencoder with normal latents: without the
term their variances go to zero and every sample is the same. |.|^2 are means over the voxels, of D in voxels of the
generator's grid and of V in standard deviations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as functional

from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.training.generator_settings import GeneratorTraining


@dataclass(frozen=True, eq=False)
class Terms:
    """The generator's loss in its parts, each a scalar tensor, and the cross-entropy that should be xi."""

    critic: torch.Tensor
    attack: torch.Tensor
    deformation: torch.Tensor
    intensity: torch.Tensor
    divergence: torch.Tensor
    cross_entropy: float

    def total(self, how: GeneratorTraining) -> torch.Tensor:
        """L_gen (eq. 6)."""
        return (
            how.critic_weight * self.critic
            + self.attack
            + how.deformation_weight * self.deformation
            + how.intensity_weight * self.intensity
            + how.kl_weight * self.divergence
        )


def masked_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, head: OutputHead, balanced: bool) -> torch.Tensor:
    """The cross-entropy of probabilities and a network's answer, masked to the structures and averaged over them (eq. 5).

    Args:
        logits: (N, K, J, I), the answer S_DV.
        targets: (N, K, J, I), the probabilities S_0.
        head: what the outputs are; of a sigmoid head the mean binary cross-entropy of the outputs counts.
        balanced: average over each structure by itself, then over the structures.

    Returns:
        A scalar, in nats; structures of which S_0 holds less than a voxel do not count, 0 if none does.
    """
    structures = targets[list(head.foreground)]
    if head.kind == "sigmoid":
        voxelwise = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(0)
    else:
        voxelwise = -(targets * logits.log_softmax(0)).sum(0)
    if not balanced:
        structures = (structures.amax(0) if head.kind == "sigmoid" else structures.sum(0))[None]
    sizes = structures.flatten(1).sum(1)
    there = sizes >= 1
    if not there.any():
        return voxelwise.sum() * 0
    return ((structures * voxelwise).flatten(1).sum(1)[there] / sizes[there]).mean()
