#!/usr/bin/env bash
# SimpleITK 2.5.7 on an Enhanced (multi-frame) CT file whose frames have rescale slopes of their own and unequal distances: the stored
# numbers are given as they are, and the slices stand at equal distances, one millimetre apart here although the last lies 8 mm further.
# Nothing is raised or said. The file is made by pydicom 3.0.1, with the functional groups that say where the frames are and what they mean.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.1 numpy==2.3.5
cd "$folder" && venv/bin/python - <<'PYTHON'
import numpy as np
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid


def item(**elements):
    dataset = Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return Sequence([dataset])


def read(heights, slopes):
    meta = FileMetaDataset()
    file = Dataset()
    file.file_meta, file.SOPClassUID, file.SOPInstanceUID = meta, EnhancedCTImageStorage, generate_uid()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = file.SOPClassUID, file.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file.StudyInstanceUID, file.SeriesInstanceUID, file.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    file.Modality, file.PatientID, file.PhotometricInterpretation = "CT", "phantom", "MONOCHROME2"
    file.SamplesPerPixel, file.Rows, file.Columns, file.NumberOfFrames = 1, 2, 3, len(heights)
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
    shared = item(
        PixelMeasuresSequence=item(PixelSpacing=[1, 1], SliceThickness=1),
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    )
    file.SharedFunctionalGroupsSequence = shared
    frames = [
        item(
            PlanePositionSequence=item(ImagePositionPatient=[0, 0, height]),
            PixelValueTransformationSequence=item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="HU"),
        )[0]
        for height, slope in zip(heights, slopes)
    ]
    file.PerFrameFunctionalGroupsSequence = Sequence(frames)
    file.PixelData = np.full((len(heights), 2, 3), 100, np.uint16).tobytes()
    file.save_as("frames.dcm", enforce_file_format=True)
    image = SimpleITK.ReadImage("frames.dcm")
    values = SimpleITK.GetArrayFromImage(image)[:, 0, 0].tolist()
    print(f"frames at {heights} mm, slopes {slopes}: spacing {image.GetSpacing()}, values {values}; stored: 100 in all")
    return image.GetSpacing()[2], values


_, slopes = read((0, 1, 2, 3), (1, 2, 3, 4))
gap, _ = read((0, 1, 2, 10), (1, 1, 1, 1))
assert slopes == [100] * 4, "the slopes are applied now (right: 100, 200, 300, 400)"
assert gap == 1, "the gap changes the spacing now"
print("as found: slopes not applied, unequal distances read as equal")
PYTHON
