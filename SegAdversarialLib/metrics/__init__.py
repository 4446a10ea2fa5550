"""How well two segmentations agree and how much an image changed: plain functions, numpy arrays in, one float out."""

from SegAdversarialLib.metrics.image_quality import largest_change, mean_psnr, perceptibility, psnr, rmse, ssim
from SegAdversarialLib.metrics.normality import QuantileLine, quantile_line
from SegAdversarialLib.metrics.overlap import dice, hd95, iou, mean_dice, volume_ml

__all__ = [
    "QuantileLine",
    "dice",
    "hd95",
    "iou",
    "largest_change",
    "mean_dice",
    "mean_psnr",
    "perceptibility",
    "psnr",
    "quantile_line",
    "rmse",
    "ssim",
    "volume_ml",
]


def __dir__() -> list[str]:
    return sorted(__all__)
