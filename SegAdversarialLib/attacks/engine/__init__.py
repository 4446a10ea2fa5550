"""What attacks run on: the state of one run, and its trace. Needs torch, so it is imported when an attack starts."""
