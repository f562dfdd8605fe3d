"""Texts with noise in them, in columns: each token says what has become of it. Text is never read as HTML."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import gradio as gr

TEMPLATE = '<div class="dd-noised"></div>'
SHOW = """
const box = element.querySelector('.dd-noised');
const node = (tag, className, textContent = '') =>
  Object.assign(document.createElement(tag), {className, textContent});
const SPOKEN = {mask: 'mask', word: 'another word', same: 'drawn as itself', gap: 'gap', kept: ''};
const cell = ([text, state]) => {
  const part = node('span', `dd-noised-${state}`, text);
  if (SPOKEN[state]) part.title = SPOKEN[state];
  return part;
};
const row = ({name, cells}) => {
  const line = node('div', 'dd-noised-row'), text = node('p', 'dd-noised-text');
  text.append(...cells.map(cell));
  line.append(node('span', 'dd-noised-name', name), text);
  return line;
};
const group = ({title, said, rows}) => {
  const column = node('section', 'dd-noised-group');
  column.append(node('h2', 'dd-noised-title', title), ...rows.map(row), node('p', 'dd-noised-said', said));
  return column;
};
const show = () => box.replaceChildren(...(JSON.parse(props.value || '{}').groups || []).map(group));
show();
watch('value', show);
"""


@dataclass(frozen=True)
class Row:
    """One noised text: its name, and each token's characters with its state (kept, mask, word, same, gap)."""

    name: str
    cells: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Group:
    """A column of texts under a title, and a line below them."""

    title: str
    rows: Sequence[Row]
    said: str = ""


class NoisedText(gr.HTML):
    """Its value is what `noised_texts` writes."""

    def __init__(self, value: str = "{}", **kwargs):
        super().__init__(value, html_template=TEMPLATE, js_on_load=SHOW, apply_default_css=False, **kwargs)

    def postprocess(self, value: str | None) -> str | None:
        """The value as it is: it reaches the page as data."""
        return value


def noised_texts(groups: Sequence[Group]) -> str:
    """The value of a NoisedText."""
    told = [
        {
            "title": group.title,
            "said": group.said,
            "rows": [{"name": row.name, "cells": [list(cell) for cell in row.cells]} for row in group.rows],
        }
        for group in groups
    ]
    return json.dumps({"groups": told}, ensure_ascii=False)
