"""Run directories: their files, which are written atomically, and the events of a run."""
