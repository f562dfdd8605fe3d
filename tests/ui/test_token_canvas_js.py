"""The token canvas is JavaScript, and is tested as such: this runs its tests under Node."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TESTS = Path(__file__).with_name("token_canvas.test.mjs")
CANVAS = Path(__file__).parents[2] / "ddemo" / "ui" / "token_canvas"


@pytest.fixture
def node() -> str:
    found = shutil.which("node")
    if found is None:
        reason = "node is not installed, so the token canvas's own tests cannot run"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    return found


def test_model_under_node(node):
    done = subprocess.run([node, "--test", str(TESTS)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "# pass 0" not in done.stdout and "# skipped 0" in done.stdout


def test_scripts_run_together_as_one_function_body(node):
    """Gradio puts model, sheet, view and the call into one `new Function(...)`."""
    script = (
        "const read = (file) => require('fs').readFileSync(file, 'utf8');"
        "new Function('element', 'host', process.argv.slice(1).map(read).join('\\n'));"
    )
    files = [str(CANVAS / name) for name in ("model.js", "sheet.js", "view.js")]
    done = subprocess.run([node, "-e", script, *files], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
