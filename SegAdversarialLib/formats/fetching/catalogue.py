"""Networks that can be fetched by name: which they are, what they take and give, under which licence, and where they lie.

Versions, checksums and addresses are those of `models/model_info.json` in MONAI's model zoo (Project-MONAI/model-zoo); tasks,
channels and classes those of each bundle's `configs/metadata.json`, licences those of its `LICENSE` and `data_license.txt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from SegAdversarialLib.errors import InputError

_HOST = "https://api.ngc.nvidia.com/v2/models/nvidia/monaihosting"


@dataclass(frozen=True)
class Entry:
    """A network that can be fetched.

    Attributes:
        name: what it is called wherever a network is named.
        version: its makers' count.
        task: what it finds in what.
        network: its architecture.
        channels: the channels that it takes, in its order, by the names that its bundle gives them.
        classes: what it tells apart.
        megabytes: about how much there is to download.
        licence: of its code and weights.
        data: whose data it was trained on, and under which terms these are.
        sha1: the SHA-1 of its archive, as its makers publish it.
        sha256: the SHA-256 of its archive; "": nobody has published it.
        address: where its archive lies; "": where the model zoo's lie.
    """

    name: str
    version: str
    task: str
    network: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    megabytes: int
    licence: str
    data: str
    sha1: str
    sha256: str = ""
    address: str = ""

    @property
    def file(self) -> str:
        """What its archive is called."""
        return f"{self.name}_v{self.version}.zip"

    @property
    def url(self) -> str:
        """Where its archive lies."""
        return self.address or f"{_HOST}/{self.name.lower()}/versions/{self.version}/files/{self.file}"


_APACHE = "Apache-2.0"
_ORGANS = ("spleen", "right kidney", "left kidney", "gallbladder", "oesophagus", "liver", "stomach", "aorta", "vena cava")

_ENTRIES = (
    Entry(
        name="brats_mri_segmentation",
        version="0.5.2",
        task="Brain tumours in MR, at 1 mm",
        network="SegResNet",
        channels=("T1c", "T1", "T2", "FLAIR"),
        classes=("tumour core", "whole tumour", "enhancing tumour"),
        megabytes=36,
        licence=_APACHE,
        data="BraTS 2018: free for research of one's own, with the citations that its terms name",
        sha1="6b1dfef29d49c6f6a1d8bf9f65c84125ad37a6e9",
    ),
    Entry(
        name="spleen_ct_segmentation",
        version="0.5.9",
        task="The spleen in CT",
        network="UNet",
        channels=("image",),
        classes=("background", "spleen"),
        megabytes=34,
        licence=_APACHE,
        data="Medical Segmentation Decathlon, task 9: CC BY-SA 4.0",
        sha1="8e99230050906d0d3cec484010598aa138201892",
    ),
    Entry(
        name="wholeBody_ct_segmentation",
        version="0.2.5",
        task="104 organs, bones, muscles and vessels in CT",
        network="SegResNet",
        channels=("image",),
        classes=("background", "104 structures of TotalSegmentator's first version"),
        megabytes=138,
        licence=_APACHE,
        data="TotalSegmentator's data set, under terms of its own (zenodo.org/record/6802614)",
        sha1="d3be077219fea4ac9630efddd81c19e0676bf206",
    ),
    Entry(
        name="swin_unetr_btcv_segmentation",
        version="0.5.6",
        task="13 organs and vessels of the abdomen in CT",
        network="SwinUNETR",
        channels=("image",),
        classes=("background", *_ORGANS, "portal and splenic veins", "pancreas", "right adrenal gland", "left adrenal gland"),
        megabytes=221,
        licence=_APACHE,
        data="BTCV (Synapse syn3193805), after registration there; the bundle itself names the Medical Segmentation Decathlon",
        sha1="3b99a1e0cc2af3dd67349e4bb083ef5063b24d4f",
    ),
)

_BY_NAME = {x.name: x for x in _ENTRIES}
CATALOGUE: Mapping[str, Entry] = MappingProxyType(_BY_NAME)
"""All of them by name, in the order in which they are shown."""


def is_catalogued(path: object) -> bool:
    """Whether a network is named as in the catalogue; a folder of that name is meant by "./NAME", or as a `Path`."""
    return isinstance(path, str) and path in CATALOGUE


def entry(name: str) -> Entry:
    """What the catalogue says of a network.

    Raises:
        InputError: it does not have it.
    """
    if name not in CATALOGUE:
        raise InputError(f'There is no network "{name}" in the catalogue; there is {", ".join(CATALOGUE)}.')
    return CATALOGUE[name]
