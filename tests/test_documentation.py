"""The parts of the documentation that are made: the list is current, and tables stay tables."""

import re
from pathlib import Path

import pytest

from ddemo import documentation
from ddemo.compare import QUESTIONS
from ddemo.documentation import listing, measured, part_of, with_part, write
from ddemo.errors import InputError
from ddemo.sampler_table import SHIPPED
from ddemo.sampling import SAMPLERS

DOCS = Path(__file__).parents[1] / "docs" / "samplers.md"
REPORT = {
    "checkpoint": {"id": "some-model", "revision": "0123456789ab", "device": "cpu", "dtype": "float32"},
    "versions": {"ddemo": "0.1.0"},
    "threads": 2,
    "prompts": ["One", "Two"],
    "new_tokens": 48,
    "steps": 32,
    "seeds": 2,
    "together": 4,
    "rows": [
        {"sampler": "confidence", "title": "LLaDA, low confidence", "draw": "sample", "nfe": 32.0,
         "seconds_per_text": 0.2512, "bits_per_char": 1.5, "bits_per_char_stderr": 0.0312, "distinct_2": 0.75},
        {"sampler": "posterior-argmax", "title": "argmax of p(x_s | x_t)", "draw": "argmax", "nfe": 1.0,
         "seconds_per_text": 0.01, "bits_per_char": 2.25, "bits_per_char_stderr": None, "distinct_2": None},
    ],
}  # fmt: skip


def test_the_list_in_the_documentation_is_current():
    """If not: python -m ddemo samplers --write docs/samplers.md"""
    assert part_of(DOCS.read_text(encoding="utf-8"), documentation.LIST) == listing()


def test_every_question_of_compare_is_described():
    rows = re.findall(r"^\| (.+?) \| `(\w+)` \| (.+) \|$", DOCS.with_name("compare.md").read_text(), re.MULTILINE)
    assert {name: title for title, name, _ in rows} == {name: asked.title for name, asked in QUESTIONS.items()}
    for _, name, lanes in rows:
        only = QUESTIONS[name].processes
        assert lanes.lower().endswith(f"; {only[0]} noise only") == (len(only) == 1)


def test_the_list_has_every_sampler_with_what_it_reads_and_where_it_is_from():
    lines = [line for line in listing().splitlines() if line.startswith("| **")]
    assert len(lines) == len(SAMPLERS)
    for sampler, line in zip(SAMPLERS.values(), sorted(lines, key=place), strict=True):
        cells = cells_of(line)
        assert len(cells) == 5 and f"`{sampler.name}`" in cells[0] and sampler.sentence == cells[2]
        assert cells[1] == ", ".join(sampler.processes) and cells[4] == sampler.source
        for knob, told in zip(sampler.knobs, filter(None, cells[3].split("<br>")), strict=True):
            name, default = told.partition(" (")[0].split(" = ")
            assert name == f"`{knob.name}`" and type(knob.default)(default) == knob.default
            assert f"({knob.range}): {knob.sentence}" in told
    assert [line[4:] for line in listing().splitlines() if line.startswith("### ")] == list(
        dict.fromkeys(sampler.group for sampler in SAMPLERS.values())
    )


def place(line: str) -> int:
    return next(i for i, name in enumerate(SAMPLERS) if f"<br>`{name}` |" in line)


def cells_of(line: str) -> list[str]:
    """The cells of a row of a Markdown table; a bar that is escaped is none."""
    return [cell.strip().replace("\0", "|") for cell in line.replace("\\|", "\0").strip("|").split("|")]


def test_a_table_of_measurements():
    lines = measured(REPORT).splitlines()
    assert cells_of(lines[0]) == ["sampler", "draw", "NFE", "seconds", "bits a character", "distinct-2"]
    first = ["LLaDA, low confidence `confidence`", "sample", "32.0", "0.25", "1.500 ± 0.031", "0.750"]
    assert cells_of(lines[2]) == first
    assert cells_of(lines[3])[0] == "argmax of p(x_s | x_t) `posterior-argmax`"
    assert cells_of(lines[3])[4:] == ["2.250", ""]
    assert "some-model 0123456789ab, float32 on cpu, 2 threads; 2 prompts with 2 seeds" in lines[5]


def test_a_table_of_an_exact_world():
    rows = [row | {"total_variation": 0.25} for row in REPORT["rows"]]
    shown = measured(REPORT | {"rows": rows, "prompts": [""], "total_variation_floor": 0.0123})
    assert cells_of(shown.splitlines()[0])[-1] == "total variation" and cells_of(shown.splitlines()[2])[-1] == "0.250"
    assert "a blank page with 2 seeds" in shown and "0.012 on average" in shown


def test_parts_are_replaced_and_the_rest_is_left(tmp_path):
    file = tmp_path / "page.md"
    file.write_text(
        "# Mine\n<!-- begin samplers -->old<!-- end samplers -->\nkept \\1\n"
        "<!-- begin some-model --><!-- end some-model -->\n<!-- begin other -->\nstays\n<!-- end other -->\n",
        encoding="utf-8",
    )
    for _ in range(2):
        write(file, [REPORT])
        text = file.read_text(encoding="utf-8")
        assert part_of(text, "samplers") == listing() and part_of(text, "some-model") == measured(REPORT)
        assert part_of(text, "other") == "stays" and text.startswith("# Mine\n") and "\nkept \\1\n" in text


def test_a_document_without_the_place(tmp_path):
    with pytest.raises(InputError, match="no place for some-model"):
        with_part("<!-- begin samplers --><!-- end samplers -->", "some-model", "x")
    file = tmp_path / "page.md"
    file.write_text("<!-- begin samplers --><!-- end samplers -->", encoding="utf-8")
    with pytest.raises(InputError, match="some-model"):
        write(file, [REPORT])
    assert part_of(file.read_text(encoding="utf-8"), "samplers") == "", "nothing is written by halves"


def test_the_documentation_has_a_place_for_every_shipped_table():
    for name in SHIPPED:
        part_of(DOCS.read_text(encoding="utf-8"), name)
