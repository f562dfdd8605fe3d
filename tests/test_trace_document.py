"""docs/trace.md describes the files that are written: every field of a real one, and no other."""

import base64
import json
import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from ddemo import rescoring, runs, trace
from ddemo.denoisers.chat import Turn
from ddemo.sampling import SAMPLERS, SamplerConfig
from ddemo.sampling.canvas import Spacing
from ddemo.sampling.frame import ARRAYS, NOWHERE
from ddemo.settings import SETTINGS
from tests.sampling.drive import row_of

DOCS = (Path(__file__).parents[1] / "docs" / "trace.md").read_text(encoding="utf-8")
KINDS = {
    "text": lambda value: isinstance(value, str),
    "digits": lambda value: isinstance(value, str) and value.isdigit(),
    "number": lambda value: isinstance(value, int | float),
    "whole number": lambda value: type(value) is int,
    "object": lambda value: isinstance(value, dict),
    "list of objects": lambda value: isinstance(value, list) and all(isinstance(item, dict) for item in value),
    "list of whole numbers": lambda value: all(type(item) is int for item in value),
    "list of positions": lambda value: all(type(item) is int for item in value),
}


def table(section: str) -> dict[str, str]:
    """Field -> type, of a section's table."""
    body = re.split(r"^## ", DOCS, flags=re.MULTILINE)
    lines = next(part for part in body if part.startswith(f"{section}\n")).splitlines()
    rows = [line.strip("|").split(" | ") for line in lines if line.startswith("| `")]
    return {row[0].strip().strip("`"): row[1].strip() for row in rows}


@pytest.fixture(scope="module")
def document(tiny) -> dict:
    """A file with everything: an edit of every kind, candidates, turns, exact values, clashes."""
    first = runs.begin(tiny, "The  old [MASK:9] sea 👩 [MASK:3]", 0, SamplerConfig(steps=6, seed=3))
    list(runs.carry_out(tiny, first))
    cells = row_of(first.segments[0].canvas, start=1)
    cells[0]["text"] = " grey"
    cells[2]["mask"] = True
    cells[3]["lock"] = cells[4]["lock"] = True
    made = runs.proceed(tiny, first, 4, cells)
    list(runs.carry_out(tiny, made))
    looks = {"final_scores": rescoring.final_scores(tiny, made), "hazard": rescoring.parallel_hazard(tiny, made)}
    return json.loads(replace(made, turns=(Turn("user", "Where is he?"),), **looks).to_json())


def check(section: str, item: dict) -> None:
    """Every field of the file is in the table with its type, and every field of the table in the file."""
    told = table(section)
    assert told and set(item) <= set(told), f"{section}: {set(item) - set(told)} is not described"
    missing = {name for name, kind in told.items() if "may be missing" not in kind} - set(item)
    assert not missing, f"{section}: {missing} is described, and not in the file"
    for name, value in item.items():
        kind = told[name].removesuffix(", may be missing")
        if not kind.startswith("array"):
            assert KINDS[kind](value), f"{section}: {name} is not {kind}"
            continue
        number = re.match(r"array (int32|float32) \[", kind)[1]
        numbers = np.frombuffer(base64.b64decode(value, validate=True), np.dtype(number).newbyteorder("<"))
        assert np.isfinite(numbers).all()


def test_every_part_is_described(document):
    assert len(document["segments"]) == 2 and document["segments"][1]["edits"]
    check("Document", document)
    assert set(table("Document")) == set(document), "the parts that may be missing are in this one"
    check("Checkpoint", document["checkpoint"])
    for segment in document["segments"]:
        check("Segment", segment)
    for frame in document["frames"]:
        check("Frame", frame)
    check("Final scores", document["final_scores"])
    check("Hazard", document["hazard"])


def test_types_of_arrays_are_those_of_the_code():
    of_frames = ARRAYS | {name: array.dtype for name, array in NOWHERE.items()}
    for section, arrays in (
        ("Frame", of_frames), ("Final scores", rescoring.FinalScores.ARRAYS), ("Hazard", rescoring.Hazard.ARRAYS)
    ):  # fmt: skip
        told = {name: kind.split()[1] for name, kind in table(section).items() if kind.startswith("array")}
        assert told == {name: np.dtype(kind).name for name, kind in arrays.items()}


def test_all_settings_are_described(document):
    told = table("Config")
    assert list(told) == [field.name for field in fields(SamplerConfig)]
    check("Config", document["config"])
    for name, sampler in SAMPLERS.items():
        check("Config", SamplerConfig(name).as_dict())
        for knob in sampler.knobs:
            row = next(line for line in DOCS.splitlines() if line.startswith(f"| `{knob.name}` |"))
            assert SETTINGS[knob.name].sentence in row
    always = set(told) - {name for name, kind in told.items() if "may be missing" in kind}
    assert set(SamplerConfig().as_dict()) >= always


def test_what_the_document_says_in_numbers():
    for number in (trace.LARGEST_FILE, trace.MOST_VALUES, trace.MOST_FRAMES, trace.MOST_SEGMENTS):
        assert f"{number:,}" in DOCS
    assert f"{trace.LONGEST_CANVAS:,}" in DOCS and f"{trace.MOST_CELLS:,}" in DOCS
    assert f"| `version` | whole number | of this format: {trace.FORMAT_VERSION} |" in DOCS
    assert f"always `{trace.FORMAT}`" in DOCS
    assert all(f"`{state}`" in DOCS for state in trace.STATES)
    assert (Spacing.SPACE_FIRST, Spacing.NO_SPACE_FIRST, Spacing.NO_SPACE_LAST) == (1, 2, 4)


def test_edits_are_of_the_kinds_that_are_listed(document):
    row = next(line for line in DOCS.splitlines() if line.startswith("| `edits`"))
    for edit in document["segments"][1]["edits"]:
        assert f"`{edit['edit']}`" in row and set(edit) <= {"edit", "at", "id", "text"}
    assert {edit["edit"] for edit in document["segments"][1]["edits"]} >= {"type", "mask", "delete"}


def test_the_canvas_after_a_step_can_be_had_as_the_document_says(tiny, document):
    read = trace.Trace.from_json(json.dumps(document))
    for number, segment in enumerate(document["segments"]):
        tokens = list(segment["tokens"])
        ends = [other["first"] for other in document["segments"][number + 1 :]] or [len(document["frames"])]
        for frame in document["frames"][segment["first"] : ends[0]]:
            at, ids = (np.frombuffer(base64.b64decode(frame[name]), "<i4") for name in ("written", "tokens"))
            for position, token in zip(at.tolist(), ids.tolist(), strict=True):
                tokens[position] = token
            assert tokens == read.tokens_at(frame["step"], number).tolist()
