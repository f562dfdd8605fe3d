"""The Models tab's own JavaScript, tested as such: this runs its tests under Node."""

from pathlib import Path

from ddemo.ui.models import ModelsView, source

TESTS = Path(__file__).with_name("models.test.mjs")


def test_model_under_node(passes_in_node):
    passes_in_node(TESTS)


def test_scripts_run_together_as_one_function_body(is_function_body):
    """Model, view and the call."""
    body = ModelsView().js_on_load
    assert "mountModels(element" in body
    is_function_body(body)


def test_the_component_has_no_template_that_could_run_text():
    """Gradio evaluates `${}` of a template, and fills `{{}}` into it: the view has neither."""
    assert "ddm-" in source("models.html") and "${" not in source("models.html") and "{{" not in source("models.html")
    scripts = source("model.js") + source("view.js")
    assert "innerHTML" not in scripts and "insertAdjacentHTML" not in scripts and "eval(" not in scripts
