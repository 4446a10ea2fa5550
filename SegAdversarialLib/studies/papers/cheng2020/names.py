"""What the study of Cheng & Ji 2020 calls its networks and its attack."""

from __future__ import annotations

ENSEMBLE = "ensemble"
MEMBERS = ("U-Net", "residual U-Net with a variational branch", "cascaded U-Net")
ATTACK = "universal random perturbation"
