"""The Noise lab tab: the mathematics of the noise, one view at a time; every number comes from `ddemo.processes`."""

from ddemo.ui.lab.tab import TAB, VIEWS, add_address, lab_css, lab_tab

__all__ = ["TAB", "VIEWS", "add_address", "lab_css", "lab_tab"]
