"""A line of text beside the thing it speaks of. Its text is never read as HTML or as a template."""

import json

import gradio as gr

TEMPLATE = '<p class="dd-notice" role="status" aria-live="polite"></p>'
SHOW = """
const line = element.querySelector('.dd-notice');
const show = () => {
  const said = JSON.parse(props.value || '{}');
  line.textContent = said.text || '';
  line.dataset.kind = said.kind || '';
};
show();
watch('value', show);
"""


class Notice(gr.HTML):
    """Its value is what `tell` writes."""

    def __init__(self, value: str = "{}", **kwargs):
        super().__init__(value, html_template=TEMPLATE, js_on_load=SHOW, apply_default_css=False, **kwargs)


def tell(text: str, kind: str = "note") -> str:
    """The value of a Notice."""
    return json.dumps({"text": text, "kind": kind})
