"""A comparison as plain values, for JSON, and as text, for a terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ddemo import runs
from ddemo.compare.findings import findings, in_steps, ladder_findings, with_error
from ddemo.compare.ladder import Ladder
from ddemo.compare.lanes import Contest
from ddemo.compare.questions import Question
from ddemo.denoisers import Checkpoint
from ddemo.measures import Comparison, Value

COLUMNS = {  # of tables: measure -> heading
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "distinct_3": "distinct-3",
    "repetition": "repetition",
    "bits_per_character": "bits a character",
    "perplexity": "judge perplexity",
    "nfe": "NFE",
    "seconds": "seconds",
}
OF_GROUPS = {"edit_distance": "edit distance", "agreement": "agreement"}


def report(checkpoint: Checkpoint, question: Question, contest: Contest, comparison: Comparison) -> dict[str, Any]:
    """Everything that is known of lanes that have run and were measured."""
    measured = dict(zip(contest.begun, comparison.lanes, strict=True))
    return {
        "question": question.name,
        "title": question.title,
        "checkpoint": checkpoint.as_dict(),
        "versions": runs.library_versions(),
        "lanes": [_lane(checkpoint, contest, index, measured) for index in range(len(contest.plans))],
        "groups": {name: _values(values) for name, values in comparison.groups.items()},
        "agreement": asdict(comparison.agreement) | {"mean": comparison.agreement.mean},
        "findings": findings(comparison, labels(contest), contest.groups()),
    }


def labels(contest: Contest) -> list[str]:
    """What the lanes that have a run are called."""
    return [contest.plans[index].label for index in contest.begun]


def _lane(checkpoint: Checkpoint, contest: Contest, index: int, measured: dict[int, dict[str, Value]]):
    plan, trace = contest.plans[index], contest.traces[index]
    told: dict[str, Any] = {"label": plan.label, "about": " · ".join(plan.about), "group": plan.group}
    told |= {"checkpoint": plan.checkpoint} if plan.checkpoint else {}
    told["problem"] = contest.problems[index]
    if trace is None:
        return told | {"state": "failed"}
    kept = ("text", "tokens", "settings")
    summary = runs.summary(checkpoint, trace)
    told |= {"state": trace.state, "steps": trace.last_step} | {name: summary[name] for name in kept}
    return told | {"measures": _values(measured[index])}


def _values(values: dict[str, Value]) -> dict[str, Any]:
    return {name: asdict(value) for name, value in values.items()}


# ---------------------------------------------------------------- text


def as_text(told: dict[str, Any]) -> str:
    """A report for a terminal: the texts, the table, what the numbers say, and why numbers are missing."""
    lines = [told["title"], ""]
    for lane in told["lanes"]:
        lines += [f"{lane['label']} ({lane['about']})" if lane["about"] else lane["label"]]
        lines += [f"  {lane['text']}"] if "text" in lane else []
        lines += [f"  ! {lane['problem']}"] if lane["problem"] else []
        lines += [""]
    measured = [(lane["label"], lane["measures"]) for lane in told["lanes"] if "measures" in lane]
    named = COLUMNS | (OF_GROUPS if told["groups"] else {})
    lines += list(_table(named, [*measured, *told["groups"].items()]))
    lines += ["", *told["findings"]]
    missing = {value["why"] for _, values in measured for value in values.values() if value["number"] is None}
    return "\n".join([*lines, *sorted(missing)])


def _table(named: dict[str, str], rows: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    cells = [["", *named.values()]]
    cells += [[label, *(_cell(name, values.get(name)) for name in named)] for label, values in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(named) + 1)]
    for first, *others in cells:
        yield "  ".join(
            [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
        )


def _cell(name: str, value: dict[str, Any] | None) -> str:
    if value is None:
        return ""
    number, error = value["number"], value["error"]
    if number is None:
        return "-"
    return f"{number:g}" if name == "nfe" and not error else with_error(Value(number, error))


def ladder_as_text(ladder: Ladder) -> str:
    """The ladder's table for a terminal, and what it says."""
    named = {name: COLUMNS[name] for name in ("bits_per_character", "perplexity", "repetition", "nfe")}
    rows = [
        (f"{in_steps(rung.steps)}, {group}", {name: asdict(value) for name, value in values.items()})
        for rung in ladder.rungs
        for group, values in rung.groups.items()
    ]
    return "\n".join([*_table(named, rows), "", *ladder_findings(ladder.rungs)])
