"""Pervin et al. 2023: adversarial attack driven data augmentation for medical images."""
