"""Tables 1 to 3 of Pervin et al. 2023 (adversarial attack driven data augmentation), mean IoU, as they were printed.

Colon cancer stands before lumbar CT everywhere.
"""

from __future__ import annotations

BY_EPOCH = {
    "U-Net": ("0.4955 / 0.5004", "0.5586 / 0.9535", "0.7311 / 0.9781", "0.8084 / 0.9829"),
    "U-Net + FGSM": ("0.4987 / 0.6161", "0.7839 / 0.8186", "0.8129 / 0.8938", "0.8394 / 0.9387"),
    "U-Net + InvFGSM": ("0.6159 / 0.6737", "0.8264 / 0.9027", "0.8643 / 0.9486", "0.8986 / 0.9774"),
}
"""Table 1: at epochs 0, 10, 20 and 30."""

UNDER_ATTACK = {
    ("FGSM", "before"): ("0.7860 / 0.8630", "0.7246 / 0.7007", "0.6028 / 0.4944"),
    ("FGSM", "after"): ("0.9071 / 0.9106", "0.8242 / 0.8812", "0.7720 / 0.9150"),
    ("InvFGSM", "before"): ("0.7749 / 0.9262", "0.5841 / 0.8517", "0.5467 / 0.4953"),
    ("InvFGSM", "after"): ("0.8724 / 0.9806", "0.8729 / 0.9624", "0.8477 / 0.9169"),
}
"""Table 2: before and after adversarial training, at epsilon 0.0012, 0.0118 and 0.1176."""

BY_AUGMENTATION = {
    "U-Net": "0.8084 / 0.9829",
    "U-Net + Flipping": "0.8127 / 0.8055",
    "U-Net + Rotating": "0.8135 / 0.8131",
    "U-Net + Cropping": "0.8215 / 0.8753",
    "U-Net + Color Jitter": "0.7989 / 0.8069",
    "U-Net + GAN": "0.8455 / 0.821",
    "U-Net + FGSM": "0.8394 / 0.9387",
    "U-Net + InvFGSM": "0.8986 / 0.9774",
}
"""Table 3."""
