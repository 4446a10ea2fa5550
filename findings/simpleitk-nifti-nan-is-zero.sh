#!/usr/bin/env bash
# SimpleITK 2.5.7: NaN and infinities of a float32 NIfTI file are read as 0, without a warning; of an NRRD file as they are.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.3.5
cd "$folder" && venv/bin/python - <<'PYTHON'
import nibabel
import numpy as np
import SimpleITK

values = np.full((2, 3, 4), 7, np.float32)
values[0, 0, :3] = np.nan, np.inf, -np.inf
SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), "volume.nii.gz")
SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), "volume.nrrd")
stored = np.asanyarray(nibabel.load("volume.nii.gz").dataobj).T
nifti, nrrd = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(x))[0, 0] for x in ("volume.nii.gz", "volume.nrrd"))
print("in the NIfTI file:", stored[0, 0], "| SimpleITK reads", nifti, "| from NRRD", nrrd)
assert np.isnan(stored[0, 0, 0]), "the writer changes them now"
assert list(nifti) == [0, 0, 0, 7], "the NIfTI reader keeps them now"
assert np.isnan(nrrd[0]) and nrrd[1] == np.inf and nrrd[2] == -np.inf, "the NRRD reader changes them now"
print("as found: 0 from NIfTI, as they are from NRRD")
PYTHON
