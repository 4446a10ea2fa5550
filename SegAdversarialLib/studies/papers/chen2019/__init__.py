"""Chen et al. 2019: intelligent image synthesis to attack a segmentation CNN using adversarial learning."""
