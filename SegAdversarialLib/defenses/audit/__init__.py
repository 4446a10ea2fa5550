"""Is a network's robustness real? Checks without which the numbers of a defence mean nothing, each explained.

After Carlini et al. 2019 (On evaluating adversarial robustness), Athalye et al. 2018 and Tramer et al. 2020, for whole
volumes and Dice.
"""

from __future__ import annotations

from SegAdversarialLib.defenses.audit.report import Audit
from SegAdversarialLib.defenses.audit.running import audit, forecast
from SegAdversarialLib.defenses.audit.settings import AuditSettings

__all__ = ["Audit", "AuditSettings", "audit", "forecast"]
