"""`python -m ddemo`: what each command prints, and one sentence with exit code 2 for what cannot be done."""

import json
import math
from dataclasses import fields

import pytest

from ddemo import benchmark, runs, shape_benchmark
from ddemo.__main__ import main
from ddemo.denoisers.loading import DEFAULT_CHECKPOINT
from ddemo.errors import InputError
from ddemo.measures import NO_JUDGE
from ddemo.sampling import SAMPLERS, SamplerConfig
from ddemo.sampling.samplers import of_process
from ddemo.settings import SETTINGS
from ddemo.trace import Trace
from ddemo.ui import examples

RUN_KEYS = {"text", "tokens", "nfe", "seed", "settings", "seconds", "checkpoint"}
HELD_OUT = "The old sailor looked into the sea, and said nothing at all. " * 40


@pytest.fixture
def run(tiny_directory, capsys):
    """(arguments) -> exit code, stdout, stderr of a command on the tiny checkpoint."""

    def call(command: str, *arguments: str) -> tuple[int, str, str]:
        code = main([command, "--checkpoint", str(tiny_directory), "--device", "cpu", *arguments])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "texts.jsonl"
    lines = [{"text": HELD_OUT, "split": "valid"}, {"text": "Nothing of this is read.", "split": "train"}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(file)


# ---------------------------------------------------------------- generate and infill


def test_generate_prints_the_text(run):
    code, out, err = run("generate", "The old", "--length", "5", "--steps", "3")
    assert code == 0 and err == ""
    assert out.startswith("The old") and len(out) > len("The old\n")


def test_generate_as_json(run, tiny):
    code, out, err = run("generate", "The old", "--length", "5", "--steps", "3", "--seed", "8", "--json")
    report = json.loads(out)
    assert code == 0 and err == "" and set(report) == RUN_KEYS
    assert report["seed"] == 8 and report["nfe"] == 3 and report["seconds"] >= 0
    assert report["settings"] == SamplerConfig(steps=3, seed=8).as_dict()
    trace = runs.begin(tiny, "The old", 5, SamplerConfig(steps=3, seed=8))
    list(runs.carry_out(tiny, trace))
    assert report["tokens"] == trace.tokens_at(trace.last_step).tolist()
    assert report["text"] == tiny.codec.decode(report["tokens"])


@pytest.mark.parametrize("sampler", ["confidence", "ancestral", "maskgit", "remdm-loop"])
def test_infill_as_json_uses_every_setting(run, sampler):
    settings = {
        "sampler": sampler,
        "draw": "argmax",
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "steps": 5,
        "seed": 2,
        "block_length": 1,
        "guidance": 0.5,
        "end_of_text": "suppress",
        "cache": "none",
    } | SAMPLERS[sampler].defaults()
    arguments = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    code, out, _ = run("infill", "The [MASK:4] sea, 😀 and ___", *arguments, "--json")
    report = json.loads(out)
    assert code == 0 and report["settings"] == settings | {"candidates": 5}
    assert report["text"].startswith("The ") and " sea, 😀 and " in report["text"] and "[MASK]" not in report["text"]
    assert "😀" in out, "text is written as it is"


def test_every_setting_is_an_option(capsys):
    for command in ("generate", "infill"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        shown = capsys.readouterr().out
        assert all(f"--{name.replace('_', '-')} " in shown for name in SETTINGS)
    assert set(SETTINGS) == {field.name for field in fields(SamplerConfig)} - {"candidates"}


COMMANDS = (
    "generate", "infill", "chat", "compare", "ladder", "samplers", "eval", "prose", "infilling", "repair", "fetch",
    "models", "bench", "examples",
)  # fmt: skip


def told(command: str, capsys) -> str:
    """The help of a command, on one line."""
    with pytest.raises(SystemExit):
        main([command, "--help"])
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_no_default_that_is_none(command, capsys):
    shown = told(command, capsys)
    assert "None" not in shown and "%(" not in shown
    if "--checkpoint CHECKPOINT" in shown and command != "samplers":
        assert f"fetched from the Hub (default: {DEFAULT_CHECKPOINT})" in shown


@pytest.mark.parametrize(
    ("command", "sentences"),
    [
        ("generate", ["after it (default: 48)"]),
        ("compare", ["are to show (default: argmax)", "without masks (default: 48)"]),
        ("ladder", ["(default: 4 8 16 32 64 128)", "of each text (default: 4)", "without masks (default: 64)"]),
        ("eval", ["a window (default: 128)", "levels a window (default: 16)", "or valid (default: valid)", "as .xz"]),
        ("prose", ["or valid (default: valid)", "either also as .xz"]),
        ("models", ["in their id, family or noise", "of the canvas (default: 128)"]),
    ],
)
def test_help_says_what_is_taken_where_nothing_is_said(command, sentences, capsys):
    shown = told(command, capsys)
    assert not [sentence for sentence in sentences if sentence not in shown]


def test_help_of_bench_has_the_lengths_that_are_measured(capsys):
    own, shapes = (" ".join(map(str, module.LENGTHS)) for module in (benchmark, shape_benchmark))
    assert f"(default: {own}; with --shape {shapes})" in told("bench", capsys)
    assert shape_benchmark.QUICK.lengths == (128,), "as the help of --quick says"


@pytest.mark.parametrize("sampler", [sampler.name for sampler in of_process("absorbing")])
def test_every_sampler(run, sampler):
    code, out, _ = run("generate", "The old", "--length", "4", "--steps", "4", "--sampler", sampler, "--json")
    report = json.loads(out)
    assert code == 0 and report["settings"]["sampler"] == sampler and "[MASK]" not in report["text"]


@pytest.mark.parametrize("settings", [[], ["--sampler", "ddim", "--eta", "0.5", "--clamp", "nearest"]])
def test_latents(settings, tiny_latent, capsys):
    arguments = ["infill", "The old [MASK:3].", "--steps", "4", "--checkpoint", str(tiny_latent.directory), "--json"]
    assert main([*arguments, *settings]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["text"].startswith("The old") and report["nfe"] == 4
    assert report["settings"]["sampler"] == ("ddim" if settings else "ddpm")


@pytest.mark.parametrize("sampler", [None, *(sampler.name for sampler in of_process("uniform"))])
def test_every_sampler_of_uniform_noise(sampler, capsys):
    chosen = ["--sampler", sampler] if sampler else []
    arguments = ["infill", "The queen [MASK:3].", "--steps", "4", "--checkpoint", "exact-world-uniform", "--json"]
    assert main([*arguments, *chosen]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["text"].startswith("The queen")
    assert report["settings"]["sampler"] == (sampler or "uniform-ancestral")


def test_the_same_command_gives_the_same_text(run):
    texts = [run("generate", "--length", "8", "--seed", seed)[1] for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]


def test_a_note_goes_to_stderr_so_that_stdout_stays_json(run):
    code, out, err = run("infill", "a [MASK:3] b", "--steps", "50", "--json")
    assert code == 0 and json.loads(out)["nfe"] == 3
    assert err == "ddemo: There are 3 masks, so the run ends after 3 of the 50 steps.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["infill", ""], "There is nothing to fill"),
        (["infill", "no mask"], "There is nothing to fill"),
        (["infill", "[MASK:10000]"], "The masks alone make 10,000 tokens, and this checkpoint takes at most 64"),
        (["infill", "[MASK:none]"], "[MASK:none] does not say how many tokens"),
        (["infill", "[MASK] \udcff"], "Character 8 of the text is half of a broken pair"),
        (["generate", "x", "--length", "0"], "There is nothing to fill"),
        (["generate", "x", "--length", "-4"], "The number of new tokens must be a whole number from 0 to"),
        (["generate", "x", "--length", "10000"], "The masks alone make 10,000 tokens"),
        (["generate", "x", "--length", "9" * 30], "The number of new tokens must be a whole number from 0 to"),
        (["generate", "word " * 99], "The text and masks make"),
        (["generate", "x", "--sampler", "magic"], "sampler must be one of confidence, random"),
        (["generate", "x", "--draw", "best"], "draw must be one of sample, argmax"),
        (["generate", "x", "--steps", "0"], "steps must be a whole number from 1 to 1,024, not 0"),
        (["generate", "x", "--temperature", "nan"], "temperature must be a number"),
        (["generate", "x", "--temperature", "-1"], "temperature must be a number"),
        (["generate", "x", "--top-k", "-1"], "top_k must be a whole number"),
        (["generate", "x", "--top-p", "1.5"], "top_p must be a number"),
        (["generate", "x", "--seed", "-1"], "seed must be a whole number"),
        (["generate", "x", "--seed", "9" * 40], "seed must be a whole number"),
        (["generate", "x", "--sampler", "uniform-joint"], "sampler must be one for absorbing noise"),
        (["generate", "x", "--eta", "0.5"], "The sampler confidence has no setting eta"),
        (["generate", "x", "--sampler", "p2", "--planner", "me"], "planner must be one of self, random, not 'me'"),
        (["generate", "x", "--sampler", "remdm-loop", "--t-on", "0.01"], "t_off and t_on must be in (0, 1)"),
        (["generate", "x", "--length", "6", "--block-length", "4"], "block_length must divide the 6 masks"),
        (["bench", "--lengths", "65"], "The masks alone make 65 tokens"),
        (["bench", "--lengths", "0"], "There is nothing to fill"),
        (["bench", "--lengths", "8", "--steps", "0"], "steps must be a whole number"),
        (["eval", "--data", "no-such-file.jsonl"], "There is no file no-such-file.jsonl"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_code_2(run, arguments, sentence):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"ddemo: {sentence}") and err.endswith("\n")
    assert "Traceback" not in err
    if arguments[0] != "eval":  # which has drawn its progress bar before
        assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["generate", "x", "--steps", "many"],
        ["generate", "x", "--length", "2.5"],
        ["infill"],
        ["eval"],
        ["generate", "--device", "tpu"],
        ["generate", "--dtype", "int4"],
    ],
)
def test_a_command_line_that_cannot_be_read_says_how_it_goes(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    shown = capsys.readouterr()
    assert ended.value.code == 2 and shown.out == ""
    assert shown.err.startswith("usage: python -m ddemo") and "error:" in shown.err.splitlines()[-1]


@pytest.mark.parametrize("name", ["no-such-model", "\0", "x" * 5000])
def test_a_checkpoint_that_is_not_there(name, capsys):
    assert main(["generate", "x", "--checkpoint", name]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("ddemo: There is no checkpoint") and shown.err.count("\n") == 1


def test_a_half_written_checkpoint(tiny_directory, tmp_path, capsys):
    for file in tiny_directory.iterdir():
        whole = file.read_bytes()
        (tmp_path / file.name).write_bytes(whole[: len(whole) // 2] if file.suffix == ".safetensors" else whole)
    assert main(["generate", "x", "--checkpoint", str(tmp_path)]) == 2
    assert "is damaged or half-written" in capsys.readouterr().err


def test_interrupted(run, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "carry_out", interrupt)
    assert run("generate", "x", "--length", "3") == (130, "", "ddemo: There are 3 masks, so the run ends after 3 of "
                                                     "the 32 steps.\nddemo: stopped.\n")  # fmt: skip


# ---------------------------------------------------------------- samplers


def test_samplers_are_listed_with_all_that_is_known_of_them(capsys):
    assert main(["samplers"]) == 0
    shown = capsys.readouterr().out
    for sampler in SAMPLERS.values():
        assert f"  {sampler.name}: {sampler.title}. {sampler.sentence}\n      {sampler.source}; " in shown
        for knob in sampler.knobs:
            assert f"--{knob.name.replace('_', '-')} {knob.default} (" in shown
    groups = list(dict.fromkeys(sampler.group for sampler in SAMPLERS.values()))
    assert [line for line in shown.splitlines() if line in groups] == groups


def test_samplers_write_their_list_into_a_document(capsys, tmp_path):
    document = tmp_path / "samplers.md"
    document.write_text("before <!-- begin samplers --> stale <!-- end samplers --> after", encoding="utf-8")
    assert main(["samplers", "--write", str(document)]) == 0
    text = document.read_text(encoding="utf-8")
    assert text.startswith("before ") and text.endswith(" after") and "stale" not in text
    assert all(f"`{name}`" in text for name in SAMPLERS)
    capsys.readouterr()
    (tmp_path / "other.md").write_text("nothing", encoding="utf-8")
    assert main(["samplers", "--write", str(tmp_path / "other.md")]) == 2
    assert "no place for samplers" in capsys.readouterr().err


def test_samplers_as_json(capsys):
    assert main(["samplers", "--json"]) == 0
    listed = {item.pop("name"): item for item in json.loads(capsys.readouterr().out)["samplers"]}
    assert list(listed) == list(SAMPLERS)
    for name, sampler in SAMPLERS.items():
        assert listed[name]["processes"] == list(sampler.processes) and listed[name]["source"] == sampler.source
        assert {knob["name"]: knob["default"] for knob in listed[name]["knobs"]} == sampler.defaults()
        for knob in listed[name]["knobs"]:
            held = {"choices"} if "choices" in knob else {"low", "high"}
            assert set(knob) == {"name", "default", "sentence"} | held
    assert "d3pm-cosine" not in listed["sedd-euler"]["knobs"][0]["choices"]
    assert "d3pm-cosine" in listed["sedd-analytic"]["knobs"][0]["choices"]


# ---------------------------------------------------------------- eval


def test_eval_as_json(run, data):
    code, out, err = run("eval", "--data", data, "--window", "32", "--times", "16", "--seed", "5", "--json")
    report = json.loads(out)
    assert code == 0
    numbers = ("nats_per_token", "nats_per_token_stderr", "bits_per_char", "bits_per_char_stderr")
    assert all(isinstance(report[name], float) and report[name] > 0 for name in numbers)
    assert report["characters"] == len(HELD_OUT) and report["windows"] > 1 and report["tokens"] > report["windows"]
    assert (report["window"], report["times"], report["seed"], report["limit"]) == (32, 16, 5, None)
    ratio = report["tokens"] / report["characters"] / math.log(2)
    assert report["bits_per_char"] == pytest.approx(report["nats_per_token"] * ratio)
    assert report["nats_per_token"] == pytest.approx(math.log(400), rel=0.2), "random weights know nothing"
    assert "windows" in err, "a progress bar"


def test_eval_is_the_same_again_and_another_with_another_seed(run, data):
    reports = [
        json.loads(run("eval", "--data", data, "--window", "32", "--limit", "300", "--seed", seed, "--json")[1])
        for seed in ("0", "0", "1")
    ]
    assert reports[0] == reports[1]
    assert reports[0]["nats_per_token"] != reports[2]["nats_per_token"]
    assert reports[0]["characters"] < len(HELD_OUT)


def test_eval_for_people(run, data):
    code, out, _ = run("eval", "--data", data, "--window", "32", "--limit", "300")
    lines = out.splitlines()
    assert code == 0 and len(lines) == 3
    assert "nats a token" in lines[0] and "bits a character" in lines[1] and "characters in" in lines[2]


def test_one_window_has_no_error_bar_and_the_json_is_still_json(run, data):
    code, out, _ = run("eval", "--data", data, "--window", "64", "--limit", "10", "--json")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    report = json.loads(out, parse_constant=refuse)
    assert code == 0 and report["windows"] == 1
    assert report["nats_per_token_stderr"] is None and report["bits_per_char_stderr"] is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--window", "65"], "window must be at most 64 tokens"),
        (["--window", "0"], "window must be at least 1"),
        (["--limit", "0"], "limit must be at least 1"),
        (["--times", "0"], "times and rows must be at least 1"),
        (["--split", "test"], "split must be one of train, valid"),
        (["--seed", "-1"], "seed must be a whole number from 0 to"),
        (["--seed", "9" * 30], "seed must be a whole number from 0 to"),
    ],
)
def test_eval_refuses_what_makes_no_sense(run, data, arguments, sentence):
    code, out, err = run("eval", "--data", data, "--window", "32", *arguments)
    assert (code, out) == (2, "") and err.splitlines()[-1].startswith(f"ddemo: {sentence}")


def test_eval_of_files_that_cannot_be_read(run, tmp_path):
    directory, damaged, empty = tmp_path / "folder.txt", tmp_path / "damaged.jsonl", tmp_path / "empty.txt"
    directory.mkdir()
    damaged.write_text('{"text": ')
    empty.write_text("")
    for file, said in ((directory, "folder.txt"), (damaged, "damaged.jsonl, line 1"), (empty, "no text to measure")):
        code, out, err = run("eval", "--data", str(file), "--window", "32")
        assert (code, out) == (2, "") and said in err.splitlines()[-1] and "Traceback" not in err


# ---------------------------------------------------------------- bench and examples


def test_bench_as_json_and_as_a_table(run):
    code, out, err = run("bench", "--quick", "--lengths", "8", "--steps", "4", "--json")
    report = json.loads(out)
    rows = report["rows"]
    assert code == 0 and err == ""
    assert [row["sampler"] for row in report["samplers"]] == [sampler.name for sampler in of_process("absorbing")]
    assert all(row["same_tokens"] for row in report["samplers"])
    assert [(row["length"], row["sampler"], row["steps"]) for row in rows] == [
        (8, "confidence", 4),
        (8, "ancestral", 4),
    ]
    code, out, _ = run("bench", "--quick", "--lengths", "8", "--steps", "4")
    assert code == 0 and "ms a call" in out.splitlines()[0] and "16 mixed lanes" in out


def test_examples_are_recorded_with_the_settings_of_the_page(run, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "HERE", tmp_path)
    examples.trace_of.cache_clear()
    assert examples.trace_of(tiny.id) is None
    code, out, err = run("examples")
    assert code == 0 and err == "" and out.startswith(f"{tiny.id}.json: ")
    try:
        examples.trace_of.cache_clear()
        trace = examples.trace_of(tiny.id)
    finally:
        examples.trace_of.cache_clear()
    assert isinstance(trace, Trace) and trace.state == "finished" and trace.config == SamplerConfig()
    assert [file.name for file in tmp_path.iterdir()] == [f"{tiny.id}.json"]
    text = runs.summary(tiny, trace)["text"]
    assert text.startswith(examples.TRY[0].text) and repr(text) in out
    branch = runs.proceed(tiny, trace, 3, None)
    list(runs.carry_out(tiny, branch))
    assert runs.summary(tiny, branch)["text"] == text


# ---------------------------------------------------------------- compare and ladder

MASKED = "The old sailor [MASK:5] into the sea."


def test_compare_prints_texts_a_table_and_what_it_says(run):
    code, out, _ = run("compare", MASKED, "--steps", "3", "--lanes", "3")
    assert code == 0
    assert out.startswith("Argmax or sampling?") and out.count("  The old sailor") == 3
    header = next(line for line in out.splitlines() if "distinct-1" in line)
    assert header.split()[:3] == ["distinct-1", "distinct-2", "distinct-3"]
    assert "The lanes first hold different words" in out and "No judge is installed" in out


def test_compare_as_json_is_what_the_lanes_write_alone(run, tiny):
    code, out, _ = run("compare", MASKED, "--steps", "3", "--lanes", "3", "--seed", "4", "--json")
    told = json.loads(out)
    assert code == 0 and told["question"] == "argmax" and set(told["groups"]) == {"argmax", "samples"}
    for lane, config in zip(
        told["lanes"],
        (
            SamplerConfig(steps=3, seed=4, draw="argmax"),
            SamplerConfig(steps=3, seed=4),
            SamplerConfig(steps=3, seed=5),
        ),
        strict=True,
    ):
        trace = runs.begin(tiny, MASKED, 0, config)
        list(runs.carry_out(tiny, trace))
        assert lane["tokens"] == trace.tokens_at(trace.last_step).tolist()
        assert lane["measures"]["nfe"]["number"] == 3
        assert lane["measures"]["perplexity"] == {"number": None, "error": None, "why": NO_JUDGE}


def test_compare_writes_a_page_and_a_document(run, tmp_path):
    page, document = tmp_path / "lanes.html", tmp_path / "doc.md"
    document.write_text("before\n<!-- begin compare -->\nold\n<!-- end compare -->\nafter\n")
    arguments = ("--steps", "2", "--lanes", "2", "--html", str(page), "--write", str(document))
    code, out, _ = run("compare", MASKED, *arguments)
    assert code == 0 and "mountLanes" in page.read_text() and "Content-Security-Policy" in page.read_text()
    written = document.read_text()
    assert out.strip() in written and "old\n<!--" not in written and written.startswith("before")


def test_ladder_prints_a_row_for_each_rung_and_draw(run):
    code, out, _ = run("ladder", MASKED, "The [MASK:3] sea.", "--rungs", "1", "2", "--seeds", "2")
    assert code == 0
    rows = [line.split("  ")[0] for line in out.splitlines() if line[0:1].isdigit()]
    assert rows == ["1 step, argmax", "1 step, samples", "2 steps, argmax", "2 steps, samples"]
    assert "With sampling" in out
    code, out, _ = run("ladder", MASKED, "--rungs", "2", "--seeds", "1", "--json")
    assert json.loads(out)["rungs"][0]["groups"]["argmax"]["nfe"]["number"] == 2


@pytest.mark.parametrize("command", ["compare", "ladder"])
def test_a_text_may_stand_after_the_word_judge(command, run, monkeypatch):
    """argparse gives `--judge` any word that follows it."""
    asked = []

    def none_is_installed(name):
        asked.append(name)
        raise InputError("No judge is installed.")

    monkeypatch.setattr("ddemo.judge.load_judge", none_is_installed)
    few = {"compare": ["--lanes", "1"], "ladder": ["--rungs", "1", "--seeds", "1"]}[command]
    for arguments, judge in (
        (["--judge", MASKED, *few], None),
        ([MASKED, "--judge", *few], None),
        ([MASKED, "--judge", "owner/name", *few], "owner/name"),
        (["--judge", "owner/name", MASKED, *few], "owner/name"),
        (["--judge", MASKED, "Another [MASK:2] text.", *few], MASKED),
        (["--judge", "nowhere.gguf", *few], "nowhere.gguf"),
    ):
        code, _, err = run(command, *arguments)
        assert code == 2 and err.endswith("ddemo: No judge is installed.\n") and asked.pop() == judge
    monkeypatch.undo()
    monkeypatch.setattr("ddemo.judge.load_judge", lambda name: None)
    code, out, _ = run(command, "--judge", MASKED, *few, "--json")
    report = json.loads(out)
    if command == "ladder":
        assert report["texts"] == [MASKED]
    else:
        assert report["lanes"][0]["text"].startswith("The old sailor ")


@pytest.mark.parametrize(
    ("command", "arguments", "begins"),
    [
        ("compare", ["no masks", "--length", "0"], "There is nothing to fill"),
        ("compare", [MASKED, "--lanes", "99"], "The number of lanes must be"),
        ("compare", [MASKED, "--length", "-1"], "The number of new tokens"),
        ("compare", [MASKED, "--judge", "/its/owners/place/nowhere at all"], "There is no judge 'nowhere at all'"),
        ("compare", [MASKED, "--steps", "2", "--lanes", "1", "--write", "missing.md"], "[Errno 2]"),
        ("ladder", [MASKED, "--rungs", "0"], "rungs must be 1 or more"),
        ("ladder", [MASKED, "--seeds", "40"], "rungs must be 1 or more"),
        ("ladder", [MASKED, "--sampler", "threshold"], "Fast-dLLM, threshold takes as many steps"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(run, command, arguments, begins):
    code, _, err = run(command, *arguments)
    assert code == 2 and err.splitlines()[-1].startswith(f"ddemo: {begins}")
