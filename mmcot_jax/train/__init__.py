"""Learning: formulas, jitted steps, and the loops over them."""
