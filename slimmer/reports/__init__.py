"""What was measured, for people: tables, Markdown, figures, comparisons of runs."""
