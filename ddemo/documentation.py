"""The parts of docs/samplers.md that are made from definitions and measurements, so that they cannot go stale."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ddemo.errors import InputError
from ddemo.sampling import SAMPLERS, Sampler
from ddemo.sampling.samplers import Knob

LIST = "samplers"


def write(path: str | Path, reports: Iterable[dict[str, Any]] = ()) -> None:
    """Write the list of samplers, and a table for each report of `measure_samplers`, between their markers.

    A part named NAME stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; a table has its checkpoint's id.

    Raises:
        InputError: the file has no such markers.
        OSError: it cannot be read or written.
    """
    path = Path(path)
    text = with_part(path.read_text(encoding="utf-8"), LIST, listing())
    for report in reports:
        text = with_part(text, report["checkpoint"]["id"], measured(report))
    path.write_text(text, encoding="utf-8")


def write_part(path: str | Path, name: str, content: str) -> None:
    """Replace one part of a document. Errors as for `write`."""
    path = Path(path)
    path.write_text(with_part(path.read_text(encoding="utf-8"), name, content), encoding="utf-8")


def with_part(text: str, name: str, content: str) -> str:
    """The document with what stands between a part's markers replaced."""
    found = _find(text, name)
    return f"{text[: found.start(1)]}\n\n{content}\n\n{text[found.end(1) :]}"


def part_of(text: str, name: str) -> str:
    """What stands between a part's markers."""
    return _find(text, name)[1].strip()


def _find(text: str, name: str) -> re.Match:
    marker = re.escape(name)
    found = re.search(f"<!-- begin {marker} -->(.*?)<!-- end {marker} -->", text, re.DOTALL)
    if not found:
        raise InputError(
            f"The document has no place for {name}: put <!-- begin {name} --> <!-- end {name} --> in it."
        )
    return found


def listing() -> str:
    """All samplers in Markdown, under the headings of their groups."""
    groups = dict.fromkeys(sampler.group for sampler in SAMPLERS.values())
    return "\n\n".join(
        f"### {group}\n\n" + table(LISTED, [_listed(s) for s in SAMPLERS.values() if s.group == group])
        for group in groups
    )


LISTED = ("sampler", "noise", "what it does", "settings of its own", "source")


def _listed(sampler: Sampler) -> list[str]:
    knobs = "<br>".join(_knob(knob) for knob in sampler.knobs)
    name = f"**{sampler.title}**<br>`{sampler.name}`"
    return [name, ", ".join(sampler.processes), sampler.sentence, knobs, sampler.source]


def _knob(knob: Knob) -> str:
    default = knob.default if knob.choices else f"{knob.default:g}"
    return f"`{knob.name}` = {default} ({knob.range}): {knob.sentence}"


def measured(report: dict[str, Any]) -> str:
    """A report of `measure_samplers` in Markdown."""
    exact = "total_variation_floor" in report
    head = ["sampler", "draw", "NFE", "seconds", "bits a character", "distinct-2"]
    rows = [_measured(row) for row in report["rows"]]
    if exact:
        head.append("total variation")
        rows = [[*cells, f"{row['total_variation']:.3f}"] for cells, row in zip(rows, report["rows"], strict=True)]
    parts = [table(head, rows, numbers_from=2), _circumstances(report)]
    if exact:
        floor = report["total_variation_floor"]
        parts.append(f"As many texts from the truth itself are at a total variation of {floor:.3f} on average.")
    return "\n\n".join(parts)


def _measured(row: dict[str, Any]) -> list[str]:
    distinct = "" if row["distinct_2"] is None else f"{row['distinct_2']:.3f}"
    error = "" if row["bits_per_char_stderr"] is None else f" ± {row['bits_per_char_stderr']:.3f}"
    return [
        f"{row['title']} `{row['sampler']}`",
        row["draw"],
        f"{row['nfe']:.1f}",
        f"{row['seconds_per_text']:.2g}",
        f"{row['bits_per_char']:.3f}{error}",
        distinct,
    ]


def _circumstances(report: dict[str, Any]) -> str:
    checkpoint, prompts = report["checkpoint"], len(report["prompts"])
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    begun = f"{prompts} prompts" if prompts > 1 else "a blank page" if report["prompts"] == [""] else "one prompt"
    return (
        f"{checkpoint['id']} {checkpoint['revision']}, {checkpoint['dtype']} on {checkpoint['device']}, "
        f"{report['threads']} threads; {begun} with {report['seeds']:,} seeds, {report['new_tokens']} new tokens, "
        f"{report['steps']} steps, {report['together']} texts at a time; {versions}."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int | None = None) -> str:
    """Markdown; columns from `numbers_from` on are aligned to the right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    ruler = ["---:" if numbers_from is not None and i >= numbers_from else "---" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (cells[0], ruler, *cells[1:]))
