"""The replay is one file that needs nothing and lets nothing in; what it shows is driven in tests/browser."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from ddemo import runs
from ddemo.sampling import Canvas, Clock, Frame, SamplerConfig
from ddemo.trace import Segment, Trace
from ddemo.ui.lanes.messages import LaneMessages, ShownLane
from ddemo.ui.replay import as_script_data, facts_of, replay_of_lanes, replay_page
from ddemo.ui.token_canvas.messages import Messages

UI = Path(__file__).parents[2] / "ddemo" / "ui"
EVIL = "</script><script>alert(1)</script><!-- \u2028 \u2029 <img src=x onerror=alert(1)>"


class Parsed(HTMLParser):
    """A document's elements, and the texts of its scripts."""

    def __init__(self, document: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(document)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] += data

    @property
    def policy(self) -> dict[str, str]:
        content = next(named["content"] for tag, named in self.tags if tag == "meta" and "http-equiv" in named)
        return dict(part.strip().split(" ", 1) for part in content.split(";"))


@pytest.fixture(scope="module")
def finished(tiny) -> Trace:
    trace = runs.begin(tiny, "The old <b> [MASK:4]", 0, SamplerConfig(steps=4, seed=2))
    list(runs.carry_out(tiny, trace))
    return trace


def test_it_holds_the_run_as_the_page_gets_it(finished):
    data, script = Parsed(replay_page(finished)).scripts
    assert json.loads(data) == json.loads(Messages("replay", finished).whole())
    assert "mountTokenCanvas(document" in script and "mountRunCharts(document" in script


def test_it_has_every_script_and_style_of_its_components(finished):
    """A file that is added to a component must come along."""
    page = replay_page(finished)
    for folder in ("token_canvas", "run_charts"):
        files = [file for kind in ("*.js", "*.css", "*.html") for file in (UI / folder).glob(kind)]
        assert len(files) > 4 - (folder == "run_charts")
        for file in files:
            assert file.read_text(encoding="utf-8").strip() in page, file.name


def test_it_loads_nothing_and_runs_its_own_script_only(finished):
    page = replay_page(finished)
    parsed = Parsed(page)
    digest = base64.b64encode(hashlib.sha256(parsed.scripts[1].encode()).digest()).decode()
    assert parsed.policy == {
        "default-src": "'none'",
        "script-src": f"'sha256-{digest}'",
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
    }
    assert len(parsed.scripts) == 2
    for tag, named in parsed.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form") or named.get("data-dd") == "i-form"
        assert not {"src", "href", "srcset", "action"} & set(named)
        assert not [name for name in named if name.startswith("on")]
    assert not re.search(r"@import|url\((?!\s*[\"']?data:)", page)
    # The only address in the scripts is the name of SVG's own namespace.
    assert set(re.findall(r"https?://[\w./-]+", page)) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("where", ["text", "title", "checkpoint", "piece"])
def test_no_text_becomes_markup(finished, where):
    trace = Trace.from_json(finished.to_json())
    title = EVIL if where == "title" else None
    if where == "text":
        trace.segments[0].canvas.own[0] = EVIL
    if where == "checkpoint":
        trace.checkpoint = trace.checkpoint | {"id": EVIL, "device": EVIL}
    if where == "piece":
        trace.pieces[int(trace.frames[-1].tokens[0])] = EVIL.encode()
    page = replay_page(trace, title)
    parsed = Parsed(page)
    assert len(parsed.scripts) == 2 and not [tag for tag, _ in parsed.tags if tag == "img"]
    if where == "title":
        assert f"<title>{html.escape(EVIL)}</title>" in page
    else:
        assert EVIL in json.dumps(json.loads(parsed.scripts[0]), ensure_ascii=False)


def test_data_of_a_script_is_still_the_same_json():
    document = json.dumps({"a": EVIL}, ensure_ascii=False)
    safe = as_script_data(document)
    assert json.loads(safe) == {"a": EVIL} and not set(safe) & {"<", "\u2028", "\u2029"}


def test_what_was_run_stands_in_the_header(tiny):
    made = tiny.as_dict()
    told = dict(facts_of(made, SamplerConfig("maskgit", steps=9, seed=3, top_p=0.5, temperature=0.25)))
    assert told == {
        "Checkpoint": f"tiny-mdm, revision {tiny.revision}",
        "Sampler": "MaskGIT",
        "Draw": "sample",
        "Temperature": "0.25",
        "Top-p": "0.5",
        "Steps": "9",
        "Seed": "3",
    }
    greedy = dict(facts_of(made, SamplerConfig("posterior-argmax")))
    assert not {"Draw", "Temperature"} & set(greedy), "its title says how it takes a token"


def long_run(vocab_size: int) -> Trace:
    """128 tokens in 128 steps with five candidates for each at every step, as a sampler that rewrites asks for."""
    generator, length = np.random.default_rng(0), 128
    frames = []
    for step in range(1, 129):
        p = np.sort(generator.dirichlet([0.3] * 5, length).astype(np.float32), axis=1)[:, ::-1]
        frames.append(
            Frame(
                step=step,
                t=1 - (step - 1) / 128,
                s=1 - step / 128,
                nfe=step,
                positions=np.arange(length, dtype=np.int32),
                entropy=generator.uniform(0, 9, length).astype(np.float32),
                ids=generator.integers(2, vocab_size, (length, 5), dtype=np.int32),
                probabilities=np.ascontiguousarray(p),
                written=np.sort(generator.choice(length, 6, replace=False)).astype(np.int32),
                tokens=generator.integers(2, vocab_size, 6, dtype=np.int32),
                chosen=generator.uniform(0, 1, 6).astype(np.float32),
            )
        )
    nothing = torch.zeros(length, dtype=torch.uint8)
    canvas = Canvas(torch.ones(length, dtype=torch.int64), nothing.bool(), nothing)
    checkpoint = {"id": "large", "revision": "0", "device": "cpu", "vocab_size": str(vocab_size), "max_length": "256"}
    trace = Trace(checkpoint, SamplerConfig("remdm-cap", steps=128), 1, [Segment(canvas, Clock(0, 128))], frames)
    mentioned = {1, *(token for frame in frames for token in (*frame.ids.ravel().tolist(), *frame.tokens.tolist()))}
    trace.pieces = {token: f" word{token}".encode() for token in mentioned}
    trace.state = "finished"
    return trace


def test_a_long_run_stays_under_a_megabyte():
    """The worst case: every position asked at every step, and no candidate twice, so that each is spelt."""
    assert 600_000 < len(replay_page(long_run(8_192)).encode()) < 1_000_000


def test_lanes_are_a_replay_too(tiny):
    traces = []
    for seed in (1, 2):
        trace = runs.begin(tiny, "The old [MASK:4]", 0, SamplerConfig(steps=4, seed=seed))
        list(runs.carry_out(tiny, trace))
        traces.append(trace)
    lanes = [ShownLane(f"seed {seed}", "", "samples", trace) for seed, trace in zip((1, 2), traces, strict=True)]
    lanes.append(ShownLane("none", "", "", None, "It could not begin."))
    page = replay_of_lanes(LaneMessages("replay", EVIL, "Do they part?", lanes), None, [EVIL])
    parsed = Parsed(page)
    assert len(parsed.scripts) == 2 and json.loads(parsed.scripts[0])["k"] == "whole"
    assert "mountLanes(document" in parsed.scripts[1]
    for file in (*(UI / "lanes").glob("*.js"), *(UI / "lanes").glob("*.css")):
        assert file.read_text(encoding="utf-8").strip() in page, file.name
    header = page[page.index('<dl class="ddr-facts">') : page.index("</header>")]
    assert "Temperature" in header and "Seed" not in header, "only what all lanes share"
