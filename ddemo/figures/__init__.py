"""Traces and ladders as plotly figures, as words and as tables. Nothing here knows the page."""
