"""Imports go one way: what is below the page does without it, and without Gradio."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import ddemo
from tests.app_process import ROOT, clean_environment

IMPORTED = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted(name for name in sys.modules if name.split(".")[0] == "gradio" or name.startswith("ddemo.ui")))
"""


def modules() -> list[str]:
    """Of the package, all but the page; training only where it is installed."""
    package = Path(ddemo.__file__).parent
    files = (file.relative_to(package.parent).with_suffix("") for file in sorted(package.rglob("*.py")))
    names = (".".join(file.parts).removesuffix(".__init__") for file in files)
    left_out = ("ddemo.ui", *(() if find_spec("matplotlib") else ("ddemo.training",)))
    return [name for name in names if not name.startswith(left_out)]


def test_nothing_below_the_page_imports_gradio():
    names = modules()
    assert "ddemo.shape_benchmark" in names and "ddemo.processes.uniform" in names
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTED, *names],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == []
