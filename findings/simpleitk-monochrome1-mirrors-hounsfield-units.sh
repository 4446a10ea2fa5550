#!/usr/bin/env bash
# SimpleITK 2.5.7 on a CT slice stored as MONOCHROME1, which the standard allows and which only says how the values are displayed
# (PS3.3 C.7.6.3.1.2: the minimum sample value is shown white): the values themselves come back mirrored, so that air (-1024 HU) reads as
# 3071 HU and bone as air. pydicom 3.0.1 gives the values that the file means. Nothing is raised or said.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.1 numpy==2.3.5
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np
import pydicom
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_rescale
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

read = {}
for shown in ("MONOCHROME2", "MONOCHROME1"):
    meta = FileMetaDataset()
    file = Dataset()
    file.file_meta, file.SOPClassUID, file.SOPInstanceUID = meta, CTImageStorage, generate_uid()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = file.SOPClassUID, file.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    file.Modality, file.PatientID, file.PhotometricInterpretation = "CT", "phantom", shown
    file.SamplesPerPixel, file.Rows, file.Columns = 1, 1, 4
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 12, 11, 0
    file.PixelSpacing, file.SliceThickness = [1, 1], 1
    file.ImageOrientationPatient, file.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    file.RescaleSlope, file.RescaleIntercept = 1, -1024
    file.PixelData = np.array([0, 1024, 2024, 4095], np.uint16).tobytes()
    file.save_as("slice.dcm", enforce_file_format=True)
    read[shown] = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("slice.dcm")).ravel().tolist()
    meant = pydicom.dcmread("slice.dcm")
    right = apply_rescale(meant.pixel_array, meant).ravel().tolist()
    print(f"{shown}: SimpleITK {read[shown]} HU, pydicom {right} HU")
    assert right == [-1024, 0, 1000, 3071], "pydicom gives other values now"
assert read["MONOCHROME2"] == [-1024, 0, 1000, 3071], "MONOCHROME2 is another matter now"
assert read["MONOCHROME1"] == [3071, 2047, 1047, -1024], "MONOCHROME1 is read in another way now"
print("as found: MONOCHROME1 mirrors the Hounsfield units")
PYTHON
