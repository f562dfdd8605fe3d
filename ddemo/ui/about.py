"""What the chosen sampler is: its sentence, what its own settings mean, its source. Text is never read as HTML."""

import gradio as gr

TEMPLATE = """
<div class="dd-about" aria-live="polite">
  <p class="dd-about-sentence"></p><p class="dd-about-knobs"></p><p>
  <span class="dd-about-source"></span><span class="dd-about-seed"></span></p>
</div>
"""
SHOW = """
const part = (name) => element.querySelector('.dd-about-' + name);
const named = (tag, text) => Object.assign(document.createElement(tag), {textContent: text});
const show = () => {
  const told = JSON.parse(props.value || '{}');
  part('sentence').textContent = told.sentence || '';
  part('source').textContent = told.source || '';
  part('seed').textContent = told.seed || '';
  part('knobs').replaceChildren(...(told.knobs || []).flatMap(
    ([label, meaning]) => [named('b', label), named('span', ' ' + meaning + '. ')]));
};
show();
watch('value', show);
"""


class About(gr.HTML):
    """Its value is what `controls.about` writes."""

    def __init__(self, value: str = "{}", **kwargs):
        super().__init__(value, html_template=TEMPLATE, js_on_load=SHOW, apply_default_css=False, **kwargs)

    def postprocess(self, value: str | None) -> str | None:
        """The value as it is: it reaches the page as data."""
        return value
