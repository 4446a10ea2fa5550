"""Networks that hold: how they are trained, whether they really do, and what can be certified of them."""
