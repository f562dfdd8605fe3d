"""A table of numbers on the page: Python writes the cells, the browser only lays them out. Text is never HTML."""

import json
from collections.abc import Sequence

import gradio as gr

TEMPLATE = '<div class="dd-numbers" tabindex="0" role="group" hidden><table></table><div class="dd-said"></div></div>'
SHOW = """
const box = element.querySelector('.dd-numbers'), table = box.querySelector('table');
const node = (tag, text) => Object.assign(document.createElement(tag), {textContent: text});
const name = (text) => Object.assign(node(text ? 'th' : 'td', text), {className: 'dd-row-name'});
const row = (cells, tag) => {
  const line = document.createElement('tr');
  line.append(...cells.map((text, at) => (at ? node(tag, text) : name(text))));
  return line;
};
const show = () => {
  const told = JSON.parse(props.value || '{}');
  box.hidden = !told.rows || !told.rows.length;
  if (box.hidden) return;
  box.setAttribute('aria-label', told.caption);
  const head = document.createElement('thead'), body = document.createElement('tbody');
  head.append(row(told.columns, 'th'));
  body.append(...told.rows.map((cells) => row(cells, 'td')));
  table.replaceChildren(head, body);
  box.querySelector('.dd-said').replaceChildren(...(told.said || []).map((line) => node('p', line)));
};
show();
watch('value', show);
"""


class NumberTable(gr.HTML):
    """Its value is what `table` writes; hidden without rows."""

    def __init__(self, value: str = "{}", **kwargs):
        super().__init__(value, html_template=TEMPLATE, js_on_load=SHOW, apply_default_css=False, **kwargs)

    def postprocess(self, value: str | None) -> str | None:
        """The value as it is: it reaches the page as data."""
        return value


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], said: Sequence[str] = ()) -> str:
    """The value of a NumberTable.

    Args:
        caption: for a screen reader.
        columns: headings, the first of the rows' names.
        rows: cells, the first of each its name.
        said: sentences under the table.
    """
    told = {"caption": caption, "columns": list(columns), "rows": [list(row) for row in rows], "said": list(said)}
    return json.dumps(told, ensure_ascii=False)
