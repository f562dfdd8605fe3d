"""`python -m ddemo`: the same things as the page, without a browser."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ddemo.errors import InputError
from ddemo.sampling import SAMPLERS, SamplerConfig
from ddemo.sampling.config import MAX_SEED, quoted
from ddemo.settings import SETTINGS, Usual, describe
from ddemo.terminal import DEFAULT, load, progress_bar, show


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked, 2 with one sentence on stderr for bad input."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except InputError as problem:
        print(f"ddemo: {problem}", file=sys.stderr)
        return 2
    except OSError as problem:  # a file that cannot be read or written
        print(f"ddemo: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ddemo: stopped.", file=sys.stderr)
        return 130
    return 0


def generate(options: argparse.Namespace) -> None:
    """Continue a prompt."""
    _run(options, options.prompt, options.length)


def infill(options: argparse.Namespace) -> None:
    """Fill the masks of a text."""
    _run(options, options.text, 0)


def chat(options: argparse.Namespace) -> None:
    """Answer a message, with a checkpoint that was tuned on conversations."""
    from ddemo import runs
    from ddemo.denoisers.chat import turns_of

    roles = ("user", "assistant")
    said = [{"role": roles[at % 2], "content": text} for at, text in enumerate(options.messages)]
    turns, (_, length) = turns_of(said, options.system), runs.checked_request("", options.length)
    checkpoint, trace = _carried_out(options, lambda *begun: runs.begin_chat(begun[0], turns, length, begun[1]))
    report = runs.summary(checkpoint, trace)
    answer = runs.answer_of(trace, checkpoint.codec)
    show(options, report | {"answer": answer}, answer)


def compare(options: argparse.Namespace) -> None:
    """Lanes side by side over one text: argmax beside samples, temperatures, samplers, steps."""
    from ddemo import runs
    from ddemo.compare import QUESTIONS, report, set_up
    from ddemo.denoisers import hub, load_checkpoint
    from ddemo.denoisers.loading import companions_of
    from ddemo.judge import load_judge
    from ddemo.measures import measured

    (given,), judge_name = _texts_and_judge([options.text], options.judge)
    text, length = runs.checked_request(given, options.length)
    checkpoint, question = load(options), QUESTIONS[options.question]
    settings = Usual.of(checkpoint.denoiser.process, checkpoint.recommended).fill(
        {name: getattr(options, name) for name in SETTINGS}
    )
    companions = {hub.id_of(path): _usual(path) for path in companions_of(checkpoint)} if question.across else {}
    plans = question.plans(settings, checkpoint.denoiser.process, options.lanes, companions)
    judge = load_judge(judge_name or None) if judge_name is not None else None
    others = partial(load_checkpoint, device=options.device, dtype=options.dtype)
    contest = set_up(checkpoint, [text], length, plans, others=others)
    with progress_bar("steps") as tell:
        most = max(trace.segments[-1].clock.last for trace in contest.runs)
        for step, _ in enumerate(contest.carry_out(), start=1):
            tell(step, most * len(contest.checkpoints))
    comparison = measured(checkpoint, contest.runs, contest.groups(), judge)
    told = report.report(checkpoint, question, contest, comparison)
    if options.html:
        from ddemo.ui.compare import replay_of

        Path(options.html).write_text(replay_of(question, contest, comparison), encoding="utf-8")
    show(options, told, report.as_text(told))
    _document(options, "compare", report.as_text(told))


def ladder(options: argparse.Namespace) -> None:
    """Quality against the number of steps, for argmax and for sampling."""
    from ddemo import runs
    from ddemo.compare import MOST_LANES
    from ddemo.compare.ladder import climb
    from ddemo.compare.report import ladder_as_text
    from ddemo.judge import load_judge

    if min(options.rungs) < 1 or not 0 <= options.seeds < MOST_LANES:
        raise InputError(f"rungs must be 1 or more, and seeds from 0 to {MOST_LANES - 1}.")
    texts, judge_name = _texts_and_judge(options.texts, options.judge)
    requests = [runs.checked_request(text, options.length) for text in texts]
    checkpoint = load(options)
    given = {name: getattr(options, name, None) for name in SETTINGS}
    settings = Usual.of(checkpoint.denoiser.process, checkpoint.recommended).fill(given)
    judge = load_judge(judge_name or None) if judge_name is not None else None
    with progress_bar("turns and texts") as tell:
        for climbed in climb(
            checkpoint, [text for text, _ in requests], settings, options.length, options.rungs, options.seeds, judge
        ):
            tell(climbed.done, climbed.all)
    told = {
        "checkpoint": checkpoint.as_dict(),
        "texts": texts,
        "length": options.length,
        "seeds": options.seeds,
    }
    show(options, told | climbed.as_dict(), ladder_as_text(climbed))
    _document(options, "ladder", ladder_as_text(climbed))


def _texts_and_judge(texts: list[str], judge: str | None) -> tuple[list[str], str | None]:
    """The texts, and the judge's name; "" for the one that is installed, None for no judge.

    argparse gives `--judge` the word that follows it, be it the only text: one with blanks, which is no path.
    """
    said = judge or ""
    if not any(texts) and len(said.split()) > 1 and not os.path.exists(os.path.expanduser(said)):
        return [said], ""
    return texts, judge


def _document(options: argparse.Namespace, part: str, text: str) -> None:
    """Put what was printed between the markers of that part in a document, if one was named."""
    from ddemo import documentation

    if options.write:
        documentation.write_part(options.write, part, f"```text\n{text}\n```")


def evaluate(options: argparse.Namespace) -> None:
    """The likelihood bound on held-out text."""
    from ddemo import metrics
    from ddemo.training.data import read_documents

    if not 0 <= options.seed <= MAX_SEED:
        raise InputError(f"seed must be a whole number from 0 to {MAX_SEED:,}, not {quoted(options.seed)}.")
    checkpoint = load(options)
    texts = list(read_documents(options.data, options.split))
    with progress_bar("windows") as tell:
        measured = metrics.evaluate(
            checkpoint, texts, options.window, options.limit, times=options.times, seed=options.seed, progress=tell
        )
    report = {"checkpoint": checkpoint.as_dict(), "window": options.window, "times": options.times}
    report |= {"seed": options.seed, "limit": options.limit} | measured.to_dict()
    lines = [
        f"{report['nats_per_token']:.4f} nats a token (standard error {report['nats_per_token_stderr']:.4f})",
        f"{report['bits_per_char']:.4f} bits a character (standard error {report['bits_per_char_stderr']:.4f})",
        f"{report['characters']:,} characters in {report['windows']:,} windows of {options.window}",
    ]
    show(options, report, "\n".join(lines))


def bench(options: argparse.Namespace) -> None:
    """Speed of a checkpoint on this machine, or of a network of a real shape with random weights."""
    from ddemo import benchmark

    if options.shape:
        _bench_shape(options)
        return
    checkpoint = load(options)
    effort = benchmark.QUICK if options.quick else benchmark.FULL
    report = benchmark.measure(checkpoint, options.lengths, options.steps, effort)
    show(options, report, benchmark.as_table(report))


def _bench_shape(options: argparse.Namespace) -> None:
    from ddemo import shape_benchmark
    from ddemo.denoisers.loading import pick_device, pick_dtype

    device = pick_device(options.device)
    effort = shape_benchmark.QUICK if options.quick else shape_benchmark.FULL
    dtype = pick_dtype(options.dtype, device)
    settings = (options.lengths, effort, options.force, options.clock)
    report = shape_benchmark.measure_shape(options.shape, device, dtype, *settings)
    show(options, report, shape_benchmark.as_table(report))
    _document(options, f"shape {options.shape}", shape_benchmark.as_table(report))


def samplers(options: argparse.Namespace) -> None:
    """All samplers, with their sources, settings and defaults; or what each costs and writes."""
    reports = list(_measured(options)) if options.measure else []
    if options.write:
        from ddemo import documentation

        documentation.write(options.write, reports)
    if options.measure:
        return
    show(options, {"samplers": [describe(sampler) for sampler in SAMPLERS.values()]}, "\n".join(_sampler_lines()))


def _measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A report for each checkpoint, printed as soon as it is there."""
    from ddemo import documentation, sampler_table
    from ddemo.denoisers import load_checkpoint

    for name in options.checkpoint or sampler_table.SHIPPED:
        checkpoint = load_checkpoint(name, options.device, options.dtype)
        with progress_bar("samplers") as tell:
            report = sampler_table.measure_samplers(checkpoint, progress=tell)
        show(options, report, documentation.measured(report))
        yield report


def _sampler_lines() -> Iterator[str]:
    group = ""
    for sampler in SAMPLERS.values():
        if sampler.group != group:
            yield f"{sampler.group}\n" if not group else f"\n{sampler.group}\n"
            group = sampler.group
        yield f"  {sampler.name}: {sampler.title}. {sampler.sentence}"
        yield f"      {sampler.source}; {' and '.join(sampler.processes)} noise"
        for knob in sampler.knobs:
            allowed = f"one of {knob.range}" if knob.choices else f"in {knob.range}"
            yield f"      --{_option(knob.name)} {knob.default} ({allowed}): {knob.sentence}"


def examples(options: argparse.Namespace) -> None:
    """Make the recorded run again that the page opens with."""
    from ddemo.ui.examples import record

    for line in record(load(options)):
        print(line)


def _usual(directory: Path) -> Usual:
    from ddemo.denoisers.loading import process_of, recommended_of

    return Usual.of(process_of(directory), recommended_of(directory))


def _run(options: argparse.Namespace, text: str, length: int) -> None:
    from ddemo import runs

    request = runs.checked_request(text, length)
    checkpoint, trace = _carried_out(options, lambda *begun: runs.begin(begun[0], *request, begun[1]), text)
    report = runs.summary(checkpoint, trace)
    show(options, report, report["text"])


def _carried_out(options: argparse.Namespace, begin: Callable, text: str = "") -> tuple:
    """The checkpoint and a run to its end, which `begin` makes of the checkpoint and the settings."""
    from ddemo import runs
    from ddemo.denoisers.loading import find_checkpoint

    usual = _usual(find_checkpoint(options.checkpoint))
    config = SamplerConfig.from_values(usual.fill({name: getattr(options, name) for name in SETTINGS}))
    checkpoint = load(options)
    trace = begin(checkpoint, config)
    for note in runs.notes(trace, text):
        print(f"ddemo: {note}", file=sys.stderr)
    for _ in runs.carry_out(checkpoint, trace):
        pass
    return checkpoint, trace


def _option(name: str) -> str:
    return name.replace("_", "-")


def _parser() -> argparse.ArgumentParser:
    from ddemo.compare import QUESTIONS
    from ddemo.compare.ladder import NEW_TOKENS, SEEDS
    from ddemo.compare.questions import STEPS
    from ddemo.denoisers import command as checkpoints
    from ddemo.denoisers.loading import DEFAULT_CHECKPOINT, DEVICES, DTYPES
    from ddemo.quality import commands as quality

    parser = argparse.ArgumentParser(prog="python -m ddemo", description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(command: Callable, loads: bool = True) -> argparse.ArgumentParser:
        name = "eval" if command is evaluate else command.__name__
        added = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        added.set_defaults(command=command)
        if loads:
            known = "a shipped checkpoint's id, a directory, or owner/name of one that was fetched from the Hub"
            added.add_argument("--checkpoint", default=DEFAULT_CHECKPOINT, help=f"{known} {DEFAULT}")
            added.add_argument("--device", default="auto", choices=DEVICES)
            added.add_argument("--dtype", default="auto", choices=("auto", *DTYPES))
            added.add_argument("--force", action="store_true", help="load it even if it does not fit into the memory")
        return added

    writing = add(generate)
    writing.add_argument("prompt", nargs="?", default="", help="what the text begins with; nothing for a blank page")
    writing.add_argument("--length", type=int, default=48, help=f"tokens to write after it {DEFAULT}")
    filling = add(infill)
    filling.add_argument("text", help="text with [MASK], [MASK:5] or ___ where words are missing")
    chatting = add(chat)
    chatting.add_argument("messages", nargs="+", help="what was said, user and assistant in turn, the user last")
    chatting.add_argument("--system", default="", help="what stands before the conversation")
    chatting.add_argument("--length", type=int, default=128, help=f"tokens of the answer {DEFAULT}")
    comparing = add(compare)
    comparing.add_argument("text", nargs="?", default="", help="as for generate and infill")
    comparing.add_argument(
        "--question", default="argmax", choices=QUESTIONS, help=f"what the lanes are to show {DEFAULT}"
    )
    after = f"tokens to write after a text without masks {DEFAULT}"
    comparing.add_argument("--length", type=int, default=48, help=after)
    comparing.add_argument("--lanes", type=int, help="how many at most (default: as the question has)")
    comparing.add_argument("--html", metavar="OUT", help="write a page that plays the lanes, too")
    climbing = add(ladder)
    climbing.add_argument("texts", nargs="*", default=[""], help="one or more texts, as for generate and infill")
    climbing.add_argument("--length", type=int, default=NEW_TOKENS, help=after)
    rungs = f"numbers of steps (default: {' '.join(map(str, STEPS))})"
    climbing.add_argument("--rungs", type=int, nargs="+", default=list(STEPS), help=rungs)
    climbing.add_argument("--seeds", type=int, default=SEEDS, help=f"samples of each text {DEFAULT}")
    for command in (comparing, climbing):
        command.add_argument("--write", metavar="FILE", help="put the result in a document such as docs/compare.md")
        command.add_argument(
            "--judge",
            nargs="?",
            const="",
            help="perplexity too, under the judge that is installed, or one by a path or Hub id (default: no judge)",
        )
    for command in (writing, filling, chatting, comparing, climbing):
        for setting in SETTINGS.values():
            if command is climbing and setting.name in ("draw", "steps"):
                continue
            command.add_argument(f"--{_option(setting.name)}", type=setting.kind, help=setting.help)
        command.add_argument("--json", action="store_true")
    listing = add(samplers, loads=False)
    listing.add_argument("--measure", action="store_true", help="run each on one set of prompts; takes minutes")
    measured = "what to measure with; several may be given (default: those that docs/samplers.md has tables of)"
    listing.add_argument("--checkpoint", action="append", help=measured)
    listing.add_argument("--device", default="auto", choices=DEVICES)
    listing.add_argument("--dtype", default="auto", choices=("auto", *DTYPES))
    listing.add_argument("--write", metavar="FILE", help="put list and tables in a document such as docs/samplers.md")
    listing.add_argument("--json", action="store_true")
    measuring = add(evaluate)
    measuring.add_argument("--data", required=True, help="a .txt or .jsonl file, either also as .xz")
    measuring.add_argument("--split", default="valid", help=f"train or valid {DEFAULT}")
    measuring.add_argument("--window", type=int, default=128, help=f"tokens a window {DEFAULT}")
    measuring.add_argument("--times", type=int, default=16, help=f"noise levels a window {DEFAULT}")
    measuring.add_argument("--limit", type=int, help="about how many characters to measure, spread over the text")
    measuring.add_argument("--seed", type=int, default=0, help=f"of the noise {DEFAULT}")
    measuring.add_argument("--json", action="store_true")
    quality.add_commands(add)
    checkpoints.add_commands(add)
    timing = add(bench)
    lengths = "canvas lengths in tokens (default: 32 64 128 256; with --shape 128 256 512)"
    timing.add_argument("--lengths", type=int, nargs="+", help=lengths)
    timing.add_argument(
        "--shape", help="instead of a checkpoint, random weights of a real shape, such as llada-8b; no download"
    )
    timing.add_argument(
        "--write", metavar="FILE", help="put the table of a shape in a document such as docs/speed.md"
    )
    timing.add_argument(
        "--clock",
        default="wall",
        choices=("wall", "processor"),
        help="for a shape: processor time says more on a busy machine",
    )
    quick = "fewer repeats: to see that it works; with --shape 128 tokens alone, unless --lengths says otherwise"
    timing.add_argument("--quick", action="store_true", help=quick)
    timing.add_argument("--steps", type=int, default=32, help=f"of a run {DEFAULT}")
    timing.add_argument("--json", action="store_true")
    add(examples)
    return parser


if __name__ == "__main__":
    sys.exit(main())
