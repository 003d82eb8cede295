"""Latency as a budget: measured networks, a fit of their times, and the rounds that keep it."""
