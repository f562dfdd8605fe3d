"""Files to keep of a comparison: a replay page and its numbers, made when asked for; the server keeps none."""

import json
from itertools import count

import gradio as gr

TEMPLATE = """
<div class="dd-keep" role="group" aria-label="Save the comparison" hidden>
  <span class="dd-keep-label" aria-hidden="true">Save</span>
  <button type="button" class="dd-button dd-quiet" data-keep="replay"
    title="One HTML file that plays all lanes anywhere, without a server">Replay page</button>
  <button type="button" class="dd-button dd-quiet" data-keep="numbers"
    title="Texts, settings and measures, as JSON">Numbers</button>
  <span class="dd-keep-said" role="status" aria-live="polite"></span>
</div>
"""
SHOW = """
const bar = element.querySelector('.dd-keep'), said = element.querySelector('.dd-keep-said');
const buttons = element.querySelectorAll('[data-keep]');
for (const button of buttons) {
  button.addEventListener('click', () => {
    for (const each of buttons) each.disabled = true;
    said.textContent = 'Making the file…';
    trigger('keep', {what: button.dataset.keep});
  });
}
function save({name, type, content}) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([content], {type: `${type};charset=utf-8`}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
const show = () => {
  const told = JSON.parse(props.value || '{}');
  bar.hidden = !told.offered;
  for (const each of buttons) each.disabled = false;
  said.textContent = told.say || '';
  if (told.file) save(told.file);
};
show();
watch('value', show);
"""

_told = count()


class Keep(gr.HTML):
    """Offers the files; its value is what `offer`, `hand_over` or `refuse` writes. Event: `keep` {what}."""

    def __init__(self, value: str = "{}", **kwargs):
        super().__init__(value, html_template=TEMPLATE, js_on_load=SHOW, apply_default_css=False, **kwargs)

    def postprocess(self, value: str | None) -> str | None:
        """The message as it is: it reaches the page as data."""
        return value


def offer(offered: bool = True) -> str:
    """There is something to keep, or nothing."""
    return _told_as(offered=offered)


def hand_over(name: str, kind: str, content: str) -> str:
    """A file for the browser to save."""
    return _told_as(offered=True, file={"name": name, "type": kind, "content": content})


def refuse(sentence: str) -> str:
    """Why there is no file."""
    return _told_as(offered=True, say=sentence)


def _told_as(**content) -> str:
    """Numbered, since a value that stays the same is not delivered."""
    return json.dumps({"id": next(_told), **content}, ensure_ascii=False)
