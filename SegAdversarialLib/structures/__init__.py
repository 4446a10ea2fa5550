"""What label values, segments and the outputs of a network stand for."""
