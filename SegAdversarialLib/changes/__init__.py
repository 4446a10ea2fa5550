"""What can be done to an image."""
