"""A network that takes cases as they come, and its exact gradient."""
