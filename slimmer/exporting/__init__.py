"""A network as a file that a runtime can read."""
