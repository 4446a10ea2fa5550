#!/usr/bin/env bash
# nibabel 5.4.2 and SimpleITK 2.5.7 on one NIfTI file with a qform alone, axes near left, posterior, superior (half a turn): the float32
# quaternion tells small rotations badly, and the two draw the line between "none" and "some" in different places. A volume that was
# turned by 0.05 degrees is read as not turned by nibabel, and as turned by 0.056 degrees by SimpleITK: 0.1 mm apart at 100 mm.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.3.5
cd "$folder" && venv/bin/python - <<'PYTHON'
import math

import nibabel
import numpy as np
import SimpleITK

seen = {}
for degrees in (0.02, 0.05, 0.1):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.float32), None)
    image.set_qform(affine, code=1)
    nibabel.save(image, "volume.nii")
    by_nibabel = np.diag([-1.0, -1.0, 1.0]) @ nibabel.load("volume.nii").affine[:3, :3]
    by_itk = np.array(SimpleITK.ReadImage("volume.nii").GetDirection()).reshape(3, 3)
    seen[degrees] = [math.degrees(math.atan2(x[1, 0], x[0, 0])) for x in (by_nibabel, by_itk)]
    print(f"turned by {degrees} degrees: nibabel {seen[degrees][0]:.4f}, SimpleITK {seen[degrees][1]:.4f}")
assert max(map(abs, seen[0.02])) < 1e-6, "a turn by 0.02 degrees is seen now"
assert abs(seen[0.05][0]) < 1e-6 and abs(seen[0.05][1] - 0.056) < 1e-3, "0.05 degrees are another matter now"
assert all(abs(x - 0.097) < 1e-3 for x in seen[0.1]), "0.1 degrees are another matter now"
print("as found: the same file, two orientations")
PYTHON
