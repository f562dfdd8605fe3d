"""The Models tab's own JavaScript, tested as such: this runs its tests under Node."""

import subprocess
from pathlib import Path

from ddemo.ui.models import ModelsView, source

TESTS = Path(__file__).with_name("models.test.mjs")


def test_model_under_node(passes_in_node):
    passes_in_node(TESTS)


def test_scripts_run_together_as_one_function_body(node):
    """Gradio puts model, view and the call into one `new Function(...)`."""
    script = "new Function('element', require('fs').readFileSync(0, 'utf8'));"
    body = ModelsView().js_on_load
    assert "mountModels(element" in body
    done = subprocess.run([node, "-e", script], input=body, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_the_component_has_no_template_that_could_run_text():
    """Gradio evaluates `${}` of a template, and fills `{{}}` into it: the view has neither."""
    assert "ddm-" in source("models.html") and "${" not in source("models.html") and "{{" not in source("models.html")
    scripts = source("model.js") + source("view.js")
    assert "innerHTML" not in scripts and "insertAdjacentHTML" not in scripts and "eval(" not in scripts
