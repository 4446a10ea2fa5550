"""A subject's voxels, and where they are."""
