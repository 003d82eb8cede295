"""Run directories: their files, written whole or not at all, and the events of a run."""
