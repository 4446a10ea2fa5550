#!/usr/bin/env bash
# SimpleITK 2.5.7 on MetaImage headers: the linear function from stored numbers to intensities (ElementToIntensityFunctionSlope, Offset)
# is not applied, and AnatomicalOrientation changes nothing: RAS and LPS are read as the same place. Nothing is said.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 numpy==2.3.5
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np
import SimpleITK


def read(*lines):
    header = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False", "DimSize = 2 3 4"]
    header += ["ElementSpacing = 1 1 1", "Offset = 10 20 30", *lines, "ElementType = MET_SHORT", "ElementDataFile = LOCAL", ""]
    with open("volume.mha", "wb") as file:
        file.write("\n".join(header).encode() + np.arange(24, dtype="<i2").tobytes())
    image = SimpleITK.ReadImage("volume.mha")
    values = SimpleITK.GetArrayFromImage(image)
    print(f"{', '.join(lines) or 'neither'}: values {values.min()} to {values.max()}, direction {image.GetDirection()[::4]}, origin {image.GetOrigin()}")
    return values.tolist(), image.GetDirection(), image.GetOrigin()


plain = read()
assert read("ElementToIntensityFunctionSlope = 2", "ElementToIntensityFunctionOffset = -1024") == plain, "it is applied now"
assert read("AnatomicalOrientation = RAS") == read("AnatomicalOrientation = LPS") == plain, "the orientation counts now"
print("as found: no scaling, no orientation")
PYTHON
