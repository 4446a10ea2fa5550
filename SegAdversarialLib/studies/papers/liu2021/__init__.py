"""Liu et al. 2021 (J Digit Imaging 34): robustifying deep networks for medical image segmentation."""
