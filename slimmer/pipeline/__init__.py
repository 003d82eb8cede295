"""The stages of a run, and what is done with finished runs."""
