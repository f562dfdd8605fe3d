"""The token canvas is JavaScript, and is tested as such: this runs its tests under Node."""

from pathlib import Path

TESTS = Path(__file__).with_name("token_canvas.test.mjs")
CANVAS = Path(__file__).parents[2] / "ddemo" / "ui" / "token_canvas"


def test_model_under_node(passes_in_node):
    passes_in_node(TESTS)


def test_scripts_run_together_as_one_function_body(is_function_body):
    """Model, sheet and view."""
    files = ("model.js", "sheet.js", "view.js")
    is_function_body("\n".join((CANVAS / name).read_text(encoding="utf-8") for name in files))
