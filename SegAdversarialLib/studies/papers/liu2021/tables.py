"""Tables 1 to 3 of Liu et al. 2021 (J Digit Imaging 34), Dice with and without attack and defence, as they were printed.

Tables 2 and 3 speak of label 4 alone in their captions; their rows are of all three regions.
"""

from __future__ import annotations

from SegAdversarialLib.studies.papers.printed import PrintedTable, block, figures

REGIONS = {"WT": "Whole tumor", "TC": "Tumor core", "ET": "Enhancing tumor"}
"""BraTS' regions, and what the paper calls them."""

DISTILLED = {temperature: f"Distillation (T = {temperature})" for temperature in (20, 100, 500, 5000)}
"""Networks by the temperature at which they were distilled."""

TRAINED = {epsilon: f"Adversarial training, {epsilon:g}" for epsilon in (0.01, 0.05, 0.1)}
"""Networks by the epsilon of their adversarial training."""

NOTHING = "No defense"
DEFENCES = (NOTHING, *DISTILLED.values(), *TRAINED.values())
EPSILONS = (0.0, 0.05, 0.1)

_ASTERISK = "An asterisk: significantly different at p <= 0.05, corrected for multiple comparisons (the paper's)."

TABLE_1 = PrintedTable(
    "Table 1",
    "Dice of the output, and image quality of the input, under three attacks",
    ("Attack type",),
    ("Tumor core", "Enhancing tumor", "Whole tumor", "PSNR", "SSIM", "RMSE"),
    {
        ("No attack",): figures("0.821 ± 0.042 0.668 ± 0.253 0.748 ± 0.043 - - -"),
        ("FGSM",): figures("0.561 ± 0.077* 0.370 ± 0.239* 0.549 ± 0.078* 27.69 ± 0.28 0.646 ± 0.043 0.041 ± 0.001"),
        ("i-FGSM",): figures("0.342 ± 0.087* 0.230 ± 0.162* 0.393 ± 0.090* 27.93 ± 0.13 0.470 ± 0.015 0.040 ± 0.001"),
        ("ti-FGSM",): figures("0.461 ± 0.085* 0.365 ± 0.225* 0.486 ± 0.082* 29.48 ± 0.34 0.735 ± 0.064 0.034 ± 0.001"),
    },
    _ASTERISK,
)

_COLUMNS = (*(f"ε = {x:g}" for x in EPSILONS), *(f"p, ε = {x:g}" for x in EPSILONS))

TABLE_2 = PrintedTable(
    "Table 2",
    "Dice of 3D U-Nets under FGSM, and the p-value of its difference to no defense",
    ("Segmentation type", "Defense type"),
    _COLUMNS,
    {
        **block(
            "Whole tumor",
            DEFENCES,
            """
            0.890 ± 0.052 0.676 ± 0.189 0.609 ± 0.216 - - -
            0.893 ± 0.053 0.741 ± 0.162* 0.686 ± 0.180* 0.2287 6.628e-4 0.0013
            0.891 ± 0.057 0.807 ± 0.123* 0.753 ± 0.149* 0.3714 9.011e-9 9.970e-8
            0.896 ± 0.056* 0.814 ± 0.153* 0.759 ± 0.174* 0.0224 1.729e-8 3.916e-7
            0.885 ± 0.080 0.809 ± 0.161* 0.758 ± 0.182* 0.8706 4.296e-8 1.678e-7
            0.887 ± 0.075 0.803 ± 0.136* 0.752 ± 0.158* 0.5646 2.176e-8 3.755e-7
            0.880 ± 0.061* 0.803 ± 0.107* 0.752 ± 0.124* 0.0457 1.991e-7 1.007e-6
            0.888 ± 0.053 0.809 ± 0.128* 0.765 ± 0.143* 0.3464 6.176e-9 7.119e-9
            """,
        ),
        **block(
            "Tumor core",
            DEFENCES,
            """
            0.826 ± 0.142 0.467 ± 0.242 0.374 ± 0.233 - - -
            0.820 ± 0.174 0.603 ± 0.266* 0.521 ± 0.256* 0.2137 1.982e-6 1.950e-5
            0.801 ± 0.174* 0.633 ± 0.259* 0.543 ± 0.268* 0.0197 2.411e-6 9.801e-6
            0.823 ± 0.165 0.661 ± 0.279* 0.574 ± 0.289* 0.9968 1.828e-7 7.289e-6
            0.810 ± 0.175 0.713 ± 0.236* 0.640 ± 0.247* 0.5486 3.158e-9 3.478e-9
            0.801 ± 0.181 0.639 ± 0.244* 0.556 ± 0.255* 0.2137 4.699e-8 1.334e-6
            0.796 ± 0.171* 0.686 ± 0.230* 0.629 ± 0.237* 0.0019 4.216e-9 7.464e-9
            0.793 ± 0.165* 0.654 ± 0.232* 0.588 ± 0.241* 6.628e-4 2.478e-9 1.250e-8
            """,
        ),
        **block(
            "Enhancing tumor",
            DEFENCES,
            """
            0.670 ± 0.295 0.380 ± 0.267 0.301 ± 0.242 - - -
            0.672 ± 0.286 0.506 ± 0.274* 0.425 ± 0.261* 0.0902 1.062e-6 5.837e-6
            0.693 ± 0.238* 0.517 ± 0.289* 0.425 ± 0.283* 0.0016 0.0012 0.0035
            0.704 ± 0.261 0.561 ± 0.298* 0.471 ± 0.294* 0.3224 7.785e-8 3.351e-6
            0.660 ± 0.286 0.583 ± 0.285* 0.522 ± 0.275* 0.1436 2.345e-8 1.068e-8
            0.637 ± 0.289 0.525 ± 0.282* 0.462 ± 0.269* 0.6259 4.602e-8 3.648e-6
            0.656 ± 0.304* 0.531 ± 0.283* 0.445 ± 0.266* 2.979e-5 1.155e-9 2.365e-9
            0.649 ± 0.283* 0.518 ± 0.283* 0.448 ± 0.269* 0.0057 5.064e-9 7.594e-8
            """,
        ),
    },
    _ASTERISK,
)

TABLE_3 = PrintedTable(
    "Table 3",
    "Dice of 2D U-Nets under FGSM, and the p-value of its difference to no defense",
    ("Segmentation type", "Defense type"),
    _COLUMNS,
    {
        **block(
            "Whole tumor",
            DEFENCES,
            """
            0.804 ± 0.131 0.607 ± 0.226 0.549 ± 0.236 - - -
            0.831 ± 0.110 0.726 ± 0.185* 0.686 ± 0.201* 0.3568 0.0073 0.0040
            0.814 ± 0.132 0.718 ± 0.196* 0.684 ± 0.207* 0.5371 0.0132 0.0067
            0.828 ± 0.113 0.731 ± 0.180* 0.689 ± 0.198* 0.3385 0.0057 0.0039
            0.818 ± 0.130 0.760 ± 0.158* 0.729 ± 0.171* 0.5609 5.014e-4 1.844e-4
            0.816 ± 0.135 0.748 ± 0.168* 0.709 ± 0.190* 0.4259 0.0015 7.943e-4
            0.809 ± 0.127 0.757 ± 0.151* 0.735 ± 0.164* 0.8300 0.0011 1.657e-4
            0.805 ± 0.131 0.749 ± 0.160* 0.726 ± 0.173* 0.9929 0.0014 3.701e-4
            """,
        ),
        **block(
            "Tumor core",
            DEFENCES,
            """
            0.701 ± 0.167 0.481 ± 0.231 0.428 ± 0.231 - - -
            0.723 ± 0.156 0.602 ± 0.207* 0.557 ± 0.214* 0.5914 0.0153 0.0113
            0.716 ± 0.161 0.611 ± 0.204* 0.572 ± 0.211* 0.7071 0.0085 0.0043
            0.706 ± 0.176 0.613 ± 0.205* 0.573 ± 0.209* 0.7678 0.0102 0.0048
            0.690 ± 0.183 0.631 ± 0.190* 0.600 ± 0.192* 0.8300 0.0053 0.0011
            0.707 ± 0.180 0.625 ± 0.200* 0.584 ± 0.210* 0.7815 0.0057 0.0026
            0.695 ± 0.176 0.623 ± 0.196* 0.601 ± 0.200* 0.9216 0.0067 9.328e-4
            0.695 ± 0.173 0.621 ± 0.192* 0.593 ± 0.199* 0.8933 0.0079 0.0012
            """,
        ),
        **block(
            "Enhancing tumor",
            DEFENCES,
            """
            0.629 ± 0.278 0.444 ± 0.250 0.376 ± 0.233 - - -
            0.649 ± 0.266 0.535 ± 0.268* 0.481 ± 0.259* 0.8022 0.0432 0.0259
            0.646 ± 0.276 0.554 ± 0.275* 0.500 ± 0.266* 0.7406 0.0178 0.0126
            0.580 ± 0.283 0.509 ± 0.260 0.460 ± 0.249* 0.2137 0.1329 0.0750
            0.567 ± 0.275 0.507 ± 0.259 0.457 ± 0.248 0.0961 0.1423 0.0892
            0.620 ± 0.279 0.483 ± 0.278 0.421 ± 0.276 0.7406 0.2448 0.2377
            0.611 ± 0.277 0.488 ± 0.269 0.430 ± 0.266 0.5609 0.2137 0.1739
            0.593 ± 0.285 0.488 ± 0.266 0.432 ± 0.258 0.3164 0.2341 0.1977
            """,
        ),
    },
    _ASTERISK,
)

TABLES = (TABLE_1, TABLE_2, TABLE_3)


def printed(dimensions: int, region: str, defence: str, epsilon: float) -> str:
    """Dice of WT, TC or ET in Table 2 (3D) or Table 3 (2D), without asterisks; a dash: the paper has none."""
    found = {3: TABLE_2, 2: TABLE_3}[dimensions].get((REGIONS[region], defence), f"ε = {epsilon:g}")
    return "-" if found is None else found.unmarked
