"""The page. Nothing below this package imports Gradio."""

from ddemo.ui.page import build_demo, launch_arguments
from ddemo.ui.resident import Resident
from ddemo.ui.shelf import Shelf

__all__ = ["Resident", "Shelf", "build_demo", "launch_arguments"]
