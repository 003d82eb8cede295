"""Latency of networks, side by side: timed in turns, compared with an interval, and explained."""
