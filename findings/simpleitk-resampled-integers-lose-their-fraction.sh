#!/usr/bin/env bash
# SimpleITK 2.5.2: resampling an image of whole numbers with linear interpolation cuts fractions off instead of rounding: half a unit is
# lost on average, always downwards for positive values, so that a whole volume gets darker. The same image as floating point does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 SimpleITK==2.5.2
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np
import SimpleITK as sitk

values = np.random.default_rng(0).integers(0, 1000, (24, 24, 24)).astype(np.int16)


def shifted(image):
    """A third of a voxel further along each axis; of the inside, where nothing is made up."""
    move = sitk.TranslationTransform(3, (1 / 3, 1 / 3, 1 / 3))
    return sitk.GetArrayFromImage(sitk.Resample(image, image, move, sitk.sitkLinear))[1:-2, 1:-2, 1:-2]


exact = shifted(sitk.Cast(sitk.GetImageFromArray(values), sitk.sitkFloat64))
whole = shifted(sitk.GetImageFromArray(values))
lost = exact - whole
print(f"mean of the exact values minus the int16 ones: {lost.mean():.3f}; smallest {lost.min():.3f}, largest {lost.max():.3f}")
rounded, cut = (float(np.mean(whole == x)) for x in (np.round(exact), np.floor(exact)))
print(f"voxels that are the exact value rounded: {rounded:.2f}, cut off: {cut:.2f}")
assert cut > 0.95 and rounded < 0.6 and lost.mean() > 0.45, "fractions are not cut off now"
print("as found: fractions are cut off")
PYTHON
