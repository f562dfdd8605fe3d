"""The documentation of the noise lab: a page for each view, with its equations, its sources and its picture."""

import re
from pathlib import Path

import pytest

from ddemo.ui.lab import VIEWS

PAGES = Path(__file__).parents[3] / "docs" / "noise-lab"
MOST_BYTES = 120_000  # of a picture


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_every_view_has_a_page_with_its_equations_sources_and_picture(view):
    page = (PAGES / f"{view.name}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {view.title}\n") and "## How to read it" in page
    equations = re.findall(r"\$\$.*?\$\$", view.words, re.DOTALL)
    assert equations and all(squeezed(equation) in squeezed(page) for equation in equations)
    sources = set(re.findall(r"https://arxiv.org/abs/[\d.]+", view.words))
    assert sources and sources <= set(re.findall(r"https://arxiv.org/abs/[\d.]+", page))
    assert f"]({view.name}.png)" in page
    picture = (PAGES / f"{view.name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and 10_000 < len(picture) < MOST_BYTES
    assert f"[{view.title}]({view.name}.md)" in (PAGES / "README.md").read_text(encoding="utf-8")
