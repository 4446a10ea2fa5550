#!/usr/bin/env bash
# SimpleITK 2.5.7 and nibabel 5.4.2 on a NIfTI file whose sform (code 1) and qform (code 1) both say where the voxels are, but differ.
# Seen: SimpleITK takes origin and direction of the sform with the voxel size of the qform: a grid that stands in neither. With the
# sform's code 2 it takes the qform, whole. nibabel takes the sform in both. Nothing is raised; only a line on stderr speaks of the scales.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.3.5
cd "$folder" && venv/bin/python - <<'PYTHON'
import nibabel
import numpy as np
import SimpleITK

seen = {}
for code in (1, 2):
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.float32), None)
    image.set_qform(np.diag([2.0, 2.0, 2.0, 1.0]), code=1)
    sform = np.diag([3.0, 3.0, 3.0, 1.0])
    sform[:3, 3] = 10, 20, 30
    image.set_sform(sform, code=code)
    # set_sform leaves the voxel sizes of the header, which are the qform's
    nibabel.save(image, "volume.nii")
    read = SimpleITK.ReadImage("volume.nii")
    seen[code] = read.GetSpacing(), read.GetOrigin()
    whole = nibabel.load("volume.nii").affine
    print(f"sform code {code}: SimpleITK spacing {read.GetSpacing()}, origin {read.GetOrigin()} (LPS); nibabel {np.diag(whole)[:3]}, {whole[:3, 3]} (RAS)")
    assert np.array_equal(whole, sform), "nibabel no longer takes the sform"
assert np.allclose(seen[1][0], 2) and np.allclose(seen[1][1], (-10, -20, 30)), "code 1 is read in another way now"
assert np.allclose(seen[2][0], 2) and np.allclose(seen[2][1], 0), "code 2 is read in another way now"
print("as found: with code 1 the qform's voxel size at the sform's origin, with code 2 the qform")
PYTHON
