"""Training a network under masks and after pruning, and evaluating it."""
