#!/usr/bin/env bash
# nibabel 5.4.2 on what is set on an image in memory: header.set_sform is lost without a word when the image is saved; image.set_sform is
# kept, but leaves the voxel sizes (pixdim) as they were, and header.set_zooms stores sizes beside an affine that says otherwise. nibabel
# reads the affine from such a file and SimpleITK 2.5.7 the sizes: 3 mm for the one is 2 mm for the other.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.3.5
cd "$folder" && venv/bin/python - <<'PYTHON'
import nibabel
import numpy as np
import SimpleITK

old, new = np.diag([2.0, 2.0, 2.0, 1.0]), np.diag([3.0, 3.0, 3.0, 1.0])


def saved(change):
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4), np.float32), old)
    change(image)
    nibabel.save(image, "volume.nii")
    back = nibabel.load("volume.nii")
    return back.affine[0, 0], float(back.header.get_zooms()[0]), SimpleITK.ReadImage("volume.nii").GetSpacing()[0]


found = {
    "header.set_sform": saved(lambda image: image.header.set_sform(new, code=1)),
    "image.set_sform": saved(lambda image: image.set_sform(new, code=1)),
    "header.set_zooms": saved(lambda image: image.header.set_zooms((3, 3, 3))),
}
for name, (affine, zoom, spacing) in found.items():
    print(f"{name} with 3 mm instead of 2: nibabel's affine {affine} mm, pixdim {zoom} mm, SimpleITK {spacing} mm")
assert found["header.set_sform"] == (2, 2, 2), "a header's sform is kept now"
assert found["image.set_sform"] == (3, 2, 2), "an image's sform is another matter now"
assert found["header.set_zooms"] == (2, 3, 3), "voxel sizes of a header are another matter now"
print("as found: one is lost, the others contradict the voxel sizes")
PYTHON
