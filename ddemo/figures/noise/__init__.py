"""Figures of the noise itself: a process goes in, a plotly figure comes out. Numbers come from `ddemo.processes`."""
