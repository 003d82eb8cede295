"""Measurements for readers: tables, Markdown, figures and comparisons of runs."""
