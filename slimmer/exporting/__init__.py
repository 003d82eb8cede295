"""Networks as files that runtimes can read."""
