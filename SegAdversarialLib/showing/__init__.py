"""How things show themselves in a notebook and in Python."""
