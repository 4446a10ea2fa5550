#!/usr/bin/env bash
# safetensors 0.8.0: its numpy writer stores the memory of an array as it lies, and the reader takes it for C order: an array that is not
# in C order (as nibabel's get_fdata gives) comes back with its values in other places, without an error. Its torch writer raises.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 nibabel==5.4.2 numpy==2.3.5
cd "$folder" && venv/bin/python - <<'PYTHON'
import nibabel
import numpy as np
import safetensors.numpy

nibabel.save(nibabel.Nifti1Image(np.arange(24, dtype=np.float32).reshape(2, 3, 4), np.eye(4)), "volume.nii")
volume = nibabel.load("volume.nii").get_fdata()
safetensors.numpy.save_file({"volume": volume}, "volume.safetensors")
back = safetensors.numpy.load_file("volume.safetensors")["volume"]
wrong = int((back != volume).sum())
print(f"C order: {volume.flags.c_contiguous}; {wrong} of {volume.size} values are in other places after saving and loading")
assert not volume.flags.c_contiguous and back.shape == volume.shape and wrong == 22, "it is another matter now"
print("as found")
PYTHON
