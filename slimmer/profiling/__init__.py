"""Latency of networks: timed in alternation, compared with confidence intervals, and explained."""
