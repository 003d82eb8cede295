"""The stages of a run, and the operations on finished runs: export, profile, sweep."""
