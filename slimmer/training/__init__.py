"""Training a network while and after it slims, and evaluating it."""
