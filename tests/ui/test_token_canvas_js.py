"""The token canvas is JavaScript, and is tested as such: this runs its tests under Node."""

import subprocess
from pathlib import Path

TESTS = Path(__file__).with_name("token_canvas.test.mjs")
CANVAS = Path(__file__).parents[2] / "ddemo" / "ui" / "token_canvas"


def test_model_under_node(passes_in_node):
    passes_in_node(TESTS)


def test_scripts_run_together_as_one_function_body(node):
    """Gradio puts model, sheet, view and the call into one `new Function(...)`."""
    script = (
        "const read = (file) => require('fs').readFileSync(file, 'utf8');"
        "new Function('element', 'host', process.argv.slice(1).map(read).join('\\n'));"
    )
    files = [str(CANVAS / name) for name in ("model.js", "sheet.js", "view.js")]
    done = subprocess.run([node, "-e", script, *files], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
