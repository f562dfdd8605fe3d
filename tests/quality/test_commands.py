"""`python -m ddemo prose`, `infilling`, `repair`: what they print, write and refuse."""

import json

import pytest

from ddemo.__main__ import main
from ddemo.quality import measure_infilling, measure_prose, measure_repair
from ddemo.sampling import SamplerConfig
from tests.quality.fakes import FakeJudge

SMALL = {
    "prose": ["--texts", "2", "--length", "8", "--prompt", "8", "--sampler", "confidence", "p2", "--steps", "2"],
    "infilling": ["--sentences", "3", "--spans", "1", "2", "--context", "7", "--characters", "500"],
    "repair": ["--windows", "2", "--length", "14", "--shares", "0.2", "--steps", "3"],
}


@pytest.fixture
def data(tmp_path, page):
    file = tmp_path / "texts.jsonl"
    lines = [{"text": text, "split": split} for split in ("train", "valid") for text in page]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(file)


@pytest.fixture
def run(tiny_directory, data, capsys, monkeypatch):
    """(command, arguments) -> exit code, stdout, stderr, on the tiny checkpoint with the fake judge."""
    monkeypatch.setattr("ddemo.judge.load_judge", lambda name: FakeJudge())

    def call(command: str, *arguments: str) -> tuple[int, str, str]:
        given = ["--checkpoint", str(tiny_directory), "--device", "cpu", "--data", data]
        code = main([command, *given, *SMALL[command], *arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def without_times(report: dict) -> dict:
    """All but what a clock says."""
    rows = [
        {name: value for name, value in row.items() if name != "seconds"}
        | ({"measures": {**row["measures"], "seconds": None}} if "measures" in row else {})
        for row in report["rows"]
    ]
    return report | {"rows": rows}


@pytest.mark.parametrize("command", SMALL)
def test_a_table_for_people_and_everything_as_json(run, command):
    code, out, err = run(command)
    assert code == 0 and out.startswith("| ") and "fake judge" in out and "Traceback" not in err
    reports = [
        json.loads(run(command, "--json", "--seed", seed, "--batch", batch)[1]) for seed, batch in ("01", "02", "11")
    ]
    first, other_batch, other_seed = map(without_times, reports)
    assert first == other_batch and first["rows"] != other_seed["rows"]
    assert len([line for line in out.splitlines() if line.startswith("| ")]) == len(first["rows"]) + 2


def test_the_numbers_are_those_of_the_functions(run, tiny, page):
    judge = FakeJudge()
    cells = [
        SamplerConfig(name, steps=2, temperature=t, candidates=0)
        for name in ("confidence", "p2")
        for t in (0.0, 0.7, 1.0)
    ]
    found = {
        "prose": measure_prose(tiny, page, judge, cells, texts=2, length=8, prompt=8),
        "infilling": measure_infilling(tiny, page, page, judge, (1, 2), 3, context=7, characters=500),
        "repair": measure_repair([tiny], page, judge, [0.2], 2, 14, 3),
    }
    for command, result in found.items():
        rows = json.loads(run(command, "--json")[1])["rows"]
        texts = "continuations" if command == "prose" else "texts"
        assert [row[texts] for row in rows] == [getattr(row, texts) for row in result.rows]
        assert len(rows) == {"prose": 8, "infilling": 12, "repair": 9}[command]


@pytest.mark.parametrize("command", SMALL)
def test_the_table_is_put_in_a_document(run, command, tmp_path):
    card = tmp_path / "README.md"
    card.write_text(f"before <!-- begin {command} -->stale<!-- end {command} --> after", encoding="utf-8")
    code, out, _ = run(command, "--write", str(card))
    text = card.read_text(encoding="utf-8")
    assert code == 0 and text.startswith("before ") and text.endswith(" after") and "stale" not in text
    shown = [line for line in out.splitlines() if line.startswith("| ")]
    assert text.count("\n| ") == len(shown)
    card.write_text("nothing", encoding="utf-8")
    code, out, err = run(command, "--write", str(card))
    assert (code, out) == (2, "") and err.count("\n") == 1, "at once, and not after the measurement"
    assert err.startswith(f"ddemo: The document has no place for {command}: ")


def test_without_a_judge_perplexities_are_dashes(run):
    code, out, _ = run("prose", "--judge", "none")
    assert code == 0 and "written by the judge" not in out and "judge: none" in out
    assert "| the real text |  |  | - |" in out


def test_repair_against_another_checkpoint(capsys, tmp_path, of_world):
    file = tmp_path / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text, "split": "valid"}) + "\n" for text in of_world))
    arguments = ["repair", "--checkpoint", "exact-world-uniform", "--against", "exact-world", "--data", str(file)]
    more = ["--length", "6", "--windows", "4", "--shares", "0.17", "--steps", "3", "--judge", "none", "--json"]
    assert main([*arguments, *more]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["checkpoint"] for row in rows if row["by"] in ("uniform-joint", "confidence")] == [
        "exact-world-uniform",
        "exact-world",
    ]


@pytest.mark.parametrize(
    ("command", "arguments", "sentence"),
    [
        ("prose", ["--sampler", "ddim"], "sampler must be one for absorbing noise"),
        ("prose", ["--texts", "0"], "The number of texts must be at least 1"),
        ("prose", ["--batch", "0"], "The number of texts in a batch must be at least 1"),
        ("prose", ["--length", "90"], "The masks alone make 90 tokens"),
        ("infilling", ["--spans", "60"], "Spans must have 1 to 57 tokens"),
        ("infilling", ["--split", "test"], "split must be one of train, valid"),
        ("repair", ["--shares", "2"], "The shares of wrong tokens"),
        ("repair", ["--against", "exact-world"], "exact-world and tiny-mdm have different tokens"),
        ("repair", ["--seed", "-1"], "seed must be a whole number"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_code_2(run, command, arguments, sentence):
    code, out, err = run(command, *arguments)
    assert (code, out) == (2, "") and err.splitlines()[-1].startswith(f"ddemo: {sentence}")
