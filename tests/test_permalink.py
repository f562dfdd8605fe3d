"""A link carries a run's text, settings and seed there and back; whatever else an address holds is one sentence."""

import unicodedata
from dataclasses import replace
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ddemo import runs
from ddemo.errors import InputError
from ddemo.permalink import LONGEST, Permalink, read_fragment
from ddemo.sampling import SAMPLERS, SamplerConfig
from ddemo.sampling.config import MAX_SEED
from tests.sampling.drive import row_of, sentence_of

LINK = Permalink("classics-mdm", "96bc38c70e6f", "The old sailor", 48, SamplerConfig(steps=16, seed=7))
SAID = "#run=classics-mdm@96bc38c70e6f&sampler=confidence&steps=16&seed=7&length=48&text=The%20old%20sailor"

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
PARTS = ["The old", " ", "sea", "é", "👩", "\n", "[MASK]", "[MASK:3]", "___", " [mask]", "[MASK", "[MASK:", "5]", "]"]
PARTS += ["&", "=", "#", "%41", "+", "<b>", "\u200b", "\u202e", "_"]
WRITTEN = st.lists(st.sampled_from(PARTS), max_size=12)


@st.composite
def configs(draw) -> SamplerConfig:
    """Any sampler, any of the settings that it reads."""
    sampler = draw(st.sampled_from(list(SAMPLERS.values())))
    given = {
        "draw": draw(st.sampled_from(["sample", "argmax"])),
        "temperature": draw(st.floats(0, 10)),
        "top_k": draw(st.integers(0, 1_000_000)),
        "top_p": draw(st.floats(0, 1, exclude_min=True)),
        "steps": draw(st.integers(1, 1024)),
        "seed": draw(st.integers(0, MAX_SEED)),
        "guidance": draw(st.floats(0, 100)),
        "block_length": draw(st.integers(0, 64)),
        "end_of_text": draw(st.sampled_from(["allow", "suppress", "late", "stop"])),
    }
    for knob in sampler.knobs:
        low, high = (knob.low, knob.high) if not knob.choices else (0, 1)
        given[knob.name] = draw(st.sampled_from(knob.choices) if knob.choices else st.floats(low, high))
    kept = draw(st.sets(st.sampled_from(sorted(given))))
    try:
        return SamplerConfig(sampler.name, **{name: given[name] for name in kept})
    except InputError:
        assume(False)


@given(configs(), TEXTS, st.integers(0, 10_000))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_there_and_back(config, text, length):
    link = replace(LINK, config=config, text=text, length=length)
    try:
        fragment = link.fragment()
    except InputError as problem:
        assert "control character" in str(problem)
        assert any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in text)
        return
    assert fragment.isascii() and not set(fragment) & set(' "<>`\\\n')
    assert urlsplit(f"https://a.b/c{fragment}").fragment == fragment[1:]
    assert read_fragment(fragment) == link


def test_it_is_readable_and_short():
    assert LINK.fragment() == SAID
    assert read_fragment(SAID) == LINK


def test_only_what_differs_is_said():
    for sampler in SAMPLERS.values():
        fragment = replace(LINK, config=SamplerConfig(sampler.name), length=0, text="a").fragment()
        assert fragment == f"#run=classics-mdm@96bc38c70e6f&sampler={sampler.name}&seed=0&text=a"


@pytest.fixture(scope="module")
def finished(tiny):
    trace = runs.begin(tiny, "The old [MASK:3] sea", 0, SamplerConfig(steps=6, seed=11, temperature=0.8))
    list(runs.carry_out(tiny, trace))
    return trace


def test_a_link_gives_the_same_run(tiny, finished):
    link = read_fragment(Permalink.of(finished).fragment())
    assert (link.checkpoint, link.revision) == (tiny.id, tiny.revision)
    again = runs.begin(tiny, link.text, link.length, link.config)
    list(runs.carry_out(tiny, again))
    assert again.tokens_at(again.last_step).tolist() == finished.tokens_at(finished.last_step).tolist()


def test_a_link_of_an_edited_run_gives_the_run_before(tiny, finished):
    cells = row_of(finished.segments[0].canvas)
    cells[4]["mask"] = True
    edited = runs.proceed(tiny, finished, 3, cells)
    assert Permalink.of(edited) == Permalink.of(finished)


@given(WRITTEN.map("".join), st.integers(0, 5))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_text_and_length_are_read_off_the_canvas(tiny, text, length):
    """What is read off gives the same canvas, though not always in the visitor's spelling of a mask."""
    try:
        trace = runs.begin(tiny, text, length, SamplerConfig())
    except InputError:
        return
    try:
        again = runs.begin(tiny, *runs.request_of(trace), SamplerConfig())
    except InputError as problem:
        assert "cannot be written with markers" in str(problem) and "[MASK" in text
        return
    for name in ("tokens", "fixed", "spacing"):
        assert getattr(again.segments[0].canvas, name).tolist() == getattr(trace.segments[0].canvas, name).tolist()
    assert again.segments[0].canvas.own == trace.segments[0].canvas.own


def test_under_uniform_noise(world):
    for text, length in (("The queen", 4), ("The king [MASK:2] son.", 0), ("", 6)):
        trace = runs.begin(world, text, length, SamplerConfig("uniform-ancestral"))
        assert runs.request_of(trace) == (text, length)


@pytest.fixture(scope="module")
def world():
    from ddemo.denoisers import load_checkpoint

    return load_checkpoint("exact-world-uniform", device="cpu")


def test_line_breaks_and_tabs_are_text():
    link = replace(LINK, text="one\ttwo\n\nthree")
    assert read_fragment(link.fragment()) == link


@pytest.mark.parametrize("text", ["a\x00", "\x1b[31m", "a\rb", "\x7f", "\x85"])
def test_control_characters_are_refused_both_ways(text):
    assert "control character U+00" in sentence_of(lambda: replace(LINK, text=text).fragment())
    said = SAID.rpartition("=")[0] + "=" + quote(text)
    assert "control character U+00" in sentence_of(lambda: read_fragment(said))


def test_a_text_that_is_too_long():
    sentence = sentence_of(lambda: replace(LINK, text="é" * LONGEST).fragment())
    assert "too long for a link" in sentence and "trace file" in sentence
    assert "too long to be read" in sentence_of(lambda: read_fragment(SAID + "a" * LONGEST))


@pytest.mark.parametrize("name", ["", "a/b/c", "../b", "a/..", "a/", "/b", "..\\b", "x" * 101, "a\nb", "\u202e"])
def test_names_that_no_checkpoint_has(name):
    assert "cannot name a checkpoint" in sentence_of(lambda: replace(LINK, checkpoint=name).fragment())
    said = f"#run={quote(name, safe='')}@0&sampler=confidence&seed=1&text=a"
    assert "cannot name a checkpoint" in sentence_of(lambda: read_fragment(said))


def test_a_checkpoint_of_the_hub_has_an_owner():
    link = replace(LINK, checkpoint="owner/name")
    assert read_fragment(link.fragment()).checkpoint == "owner/name"
    assert "cannot name a checkpoint or revision" in sentence_of(lambda: replace(LINK, revision="a/b").fragment())


@pytest.mark.parametrize(
    "said, begins",
    [
        (None, "This link describes no run"),
        (5, "This link describes no run"),
        ("", "This link describes no run"),
        ("#other", "This link describes no run"),
        ("#run=", "This link does not say which checkpoint"),
        ("#run=classics-mdm", "This link does not say which checkpoint"),
        ("#run=a@b", "This link is incomplete"),
        ("#run=a@b&sampler=confidence", "This link is incomplete"),
        ("#run=a@b&seed=1&text=a", "This link is incomplete"),
        ("#run=a@b&text", "This link is damaged: 'text' is no name with one value"),
        ("#run=a@b&text=a&text=b", "This link is damaged: 'text=b' is no name with one value"),
        ("#run=a@b&run=c@d", "This link is damaged"),
        ("#run=a@b&&seed=1", "This link is damaged"),
        ("#run=a@b&text=%ff", "This link is damaged: the value of 'text' is no text"),
        ("#run=a@b&text=\ud800", "A link cannot hold the control character U+D800"),
        ("#run=a@b&length=-1", "The length in this link must be a whole number"),
        ("#run=a@b&length=1e3", "The length in this link must be a whole number"),
        ("#run=a@b&length=9999999", "The number of new tokens must be a whole number"),
        ("#run=a@b&length=" + "9" * 5000, "The length in this link must be a whole number"),
        ("#run=a@b&sampler=confidence&seed=1&__class__=x", "This link has a setting that is not known here: '__"),
        ("#run=a@b&sampler=confidence&seed=1&candidates=9", "This link has a setting that is not known here"),
        ("#run=a@b&sampler=nothing&seed=1", "sampler must be one of"),
        ("#run=a@b&sampler=confidence&seed=x", "seed must be a number"),
        ("#run=a@b&sampler=confidence&seed=1.5", "seed must be a whole number"),
        ("#run=a@b&sampler=confidence&seed=-1", "seed must be a whole number"),
        ("#run=a@b&sampler=confidence&seed=1&steps=" + "9" * 5000, "steps must be a"),
        ("#run=a@b&sampler=confidence&seed=1&temperature=nan", "temperature must be a number"),
        ("#run=a@b&sampler=confidence&seed=1&draw=%00", "draw must be one of"),
        ("#run=a@b&sampler=confidence&seed=1&eta=0.5", "The sampler confidence has no setting eta"),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_what_is_no_link_is_one_sentence(said, begins):
    assert sentence_of(lambda: read_fragment(said), most=600).startswith(begins)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_link_is_a_sentence_or_a_link(data):
    place, length = data.draw(st.integers(0, len(SAID))), data.draw(st.integers(0, 8))
    damage = data.draw(st.one_of(st.text(max_size=6), st.sampled_from(["&", "=", "%", "%00", "%ed%a0%80", "@", "#"])))
    try:
        link = read_fragment(SAID[:place] + damage + SAID[place + length :])
    except InputError as problem:
        str(problem).encode()
        return
    assert read_fragment(link.fragment()) == link
