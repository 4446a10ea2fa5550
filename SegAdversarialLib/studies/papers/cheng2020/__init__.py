"""Cheng & Ji 2020 (IEEE Access 8): adversarial perturbation on MRI modalities in brain tumor segmentation."""
