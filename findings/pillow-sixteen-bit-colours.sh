#!/usr/bin/env bash
# Pillow 13.0.0: a PNG or TIFF picture of three colours with 16 bits each opens as mode RGB with 8 bits, without a warning: 65535 becomes
# 255, and 256 values become one. A grey picture of 16 bits keeps them. SimpleITK 2.5.7 reads the same files with all bits.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 SimpleITK==2.5.7 numpy==2.3.5
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np
import SimpleITK
from PIL import Image

colours = (np.arange(12, dtype=np.uint16) * 5000 + 100).reshape(2, 2, 3)
for ending in ("png", "tif"):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colours, isVector=True), f"colours.{ending}")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colours[..., 0]), f"grey.{ending}")
    with Image.open(f"colours.{ending}") as picture:
        mode, pillow = picture.mode, np.asarray(picture)
    itk = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(f"colours.{ending}"))
    grey = np.asarray(Image.open(f"grey.{ending}"))
    print(f"{ending}: stored {colours.ravel()[:4]}, Pillow {mode} {pillow.dtype} {pillow.ravel()[:4]}, SimpleITK {itk.ravel()[:4]}; grey: {grey.ravel()}")
    assert np.array_equal(itk, colours), "SimpleITK no longer keeps 16 bits"
    assert np.array_equal(grey, colours[..., 0]), "grey pictures lose bits now"
    assert mode == "RGB" and pillow.dtype == np.uint8 and abs(pillow - colours / 257).max() < 1, "Pillow keeps 16 bits now"
print("as found: 8 of 16 bits")
PYTHON
