#!/usr/bin/env bash
# SimpleITK 2.5.7 on NRRD headers: "space units" of metres or micrometres are passed over (1 m is read as 1 mm), and the axes of the
# spaces scanner-xyz and 3D-left-handed, of which the format says nothing anatomical, are taken for left, posterior, superior. Nothing is said.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 numpy==2.3.5
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np
import SimpleITK


def read(space, unit):
    lines = ["NRRD0004", "type: short", "dimension: 3", f"space: {space}", "sizes: 2 3 4"]
    lines += ["space directions: (1,0,0) (0,1,0) (0,0,1)", "space origin: (10,20,30)", "kinds: domain domain domain"]
    lines += [f'space units: "{unit}" "{unit}" "{unit}"', "endian: little", "encoding: raw", "", ""]
    with open("volume.nrrd", "wb") as file:
        file.write("\n".join(lines).encode() + np.arange(24, dtype="<i2").tobytes())
    image = SimpleITK.ReadImage("volume.nrrd")
    told = [key for key in image.GetMetaDataKeys() if "unit" in key.lower()]
    print(f"{space}, in {unit}: spacing {image.GetSpacing()} mm, origin {image.GetOrigin()} (LPS); keys about units: {told}")
    assert not told, "the unit is in the image's dictionary now"
    return image.GetSpacing(), image.GetOrigin(), image.GetDirection()


plain = read("left-posterior-superior", "mm")
assert read("left-posterior-superior", "m") == plain and read("left-posterior-superior", "um") == plain, "units count now"
assert read("right-anterior-superior", "mm") != plain, "the space is not read at all now"
assert read("scanner-xyz", "mm") == plain and read("3D-left-handed", "mm") == plain, "these spaces are another matter now"
print("as found: units passed over; spaces without anatomy taken for LPS")
PYTHON
