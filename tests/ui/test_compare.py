"""The Compare tab's handlers, called as Gradio calls them: lanes, measures and sentences, or one sentence why not."""

import gc
import json
from types import FunctionType, ModuleType, SimpleNamespace

import gradio as gr
import orjson
import pytest

from ddemo import measures, runs
from ddemo.compare import QUESTIONS, questions_for
from ddemo.compare import lanes as lanes_module
from ddemo.denoisers import Checkpoint, load_checkpoint
from ddemo.errors import InputError
from ddemo.sampling import loop, read_text
from ddemo.ui import compare as compare_module
from ddemo.ui import ladder as ladder_module
from ddemo.ui.chosen import kind_of
from ddemo.ui.compare import PLACE, Bout, _Wiring, in_seconds
from ddemo.ui.controls import Controls
from ddemo.ui.denoise import UNEXPECTED
from ddemo.ui.ladder import _Wiring as LadderWiring
from ddemo.ui.shelf import Shelf
from ddemo.ui.visits import OneAtATime, SentMessages
from tests.ui.conftest import HeldCheckpoint
from tests.ui.server import settings_values

TEXT = "The old sailor [MASK:6] into the sea."
ALONE = {name for name, question in QUESTIONS.items() if not question.across}


class Seat:
    """A judge's seat; empty unless a test puts somebody there."""

    problem, waiting, judge = measures.NO_JUDGE, False, None

    def ask(self, stopped=lambda: False):
        return self.judge


class ComparePage:
    """A visitor's Compare tab: its session, and the handlers behind its buttons."""

    def __init__(self, resident, seat=None, others=()):
        self.resident, self.seat, self.sent = resident, seat or Seat(), SentMessages()
        self.controls = Controls(kind_of(resident), resident.usual, PLACE)
        names = ("notice", "run", "stop", "fit", "lanes", "cost")
        layout = SimpleNamespace(**{name: name for name in names})
        self.wiring = _Wiring(Shelf([resident, *others]), self.seat, self.sent, self.controls, layout, "view", "keep")
        self.bout = Bout()

    def start(self, question="argmax", text=TEXT, length=0, lanes=3, **settings):
        values = settings_values(self.controls, **{"steps": 4} | settings)
        return self.wiring.compare(self.resident.id, question, text, length, lanes, *values, self.bout)

    def compare(self, *arguments, **settings):
        return Seen(list(self.start(*arguments, **settings)))

    def cost(self, question="argmax", text=TEXT, length=0, lanes=3, **settings):
        return json.loads(
            self.wiring.cost(
                self.resident.id, question, text, length, lanes, *settings_values(self.controls, **settings)
            )
        )


class Seen:
    """What a press showed."""

    def __init__(self, updates):
        self.updates = updates
        orjson.dumps(updates)

    def of(self, name):
        return [update[name] for update in self.updates if name in update]

    @property
    def messages(self):
        return [json.loads(value) for value in self.of("view")]

    def kinds(self):
        return [message["k"] for message in self.messages]

    @property
    def notice(self):
        return json.loads(self.of("notice")[-1])

    @property
    def is_idle(self):
        return self.of("run")[-1]["visible"] is True and self.of("stop")[-1]["visible"] is False


@pytest.fixture
def held(tiny):
    resident = HeldCheckpoint(tiny)
    resident.pace = 1e-3
    return resident


@pytest.fixture
def tab(held):
    return ComparePage(held)


def test_a_press_shows_lanes_turn_by_turn_then_measures_them(tab):
    seen = tab.compare()
    assert seen.is_idle and seen.notice["text"] == ""
    lanes, *turns = seen.messages[:5]
    assert lanes["k"] == "lanes" and [turn["k"] for turn in turns] == ["turn"] * 4
    assert [lane["label"] for lane in lanes["lanes"]] == ["argmax", "sample, seed 0", "sample, seed 1"]
    assert all([index for index, _ in turn["of"]] == [0, 1, 2] for turn in turns)
    assert seen.kinds()[5] == "lane-end" and seen.kinds()[-1] == "end"
    assert [message["n"] for message in seen.messages] == list(range(len(seen.messages)))
    run = lanes["run"]
    assert json.loads(tab.sent.since(run, 0)) == seen.messages


def test_lanes_say_what_they_do_not_share_and_the_head_what_they_do(tab):
    head, lanes = (tab.compare().messages[0][name] for name in ("head", "lanes"))
    assert head["title"] == "Argmax or sampling?"
    assert head["question"] == "One argmax run, and samples with a seed each · LLaDA, low confidence · 4 steps"
    assert [lane["about"] for lane in lanes] == [
        "argmax draw · the seed does not matter",
        "temperature 1 · seed 0",
        "temperature 1 · seed 1",
    ]


def test_measures_come_lane_by_lane_and_sentences_with_the_last(tab):
    found = [message for message in tab.compare().messages if message["k"] == "measures"]
    assert len(found) == 4
    first, last = found[0]["measures"], found[-1]["measures"]
    assert first["lanes"][0]["nfe"]["number"] == 4
    assert first["lanes"][0]["bits_per_character"] == {"number": None, "error": None, "why": measures.PENDING}
    assert all(lane["bits_per_character"]["number"] > 0 for lane in last["lanes"])
    assert last["lanes"][0]["perplexity"]["why"] == measures.NO_JUDGE
    assert [(group["label"], group["lanes"]) for group in last["groups"]] == [("2 samples", [1, 2])]
    assert [bool(message["sentences"]) for message in found] == [False, False, False, True]


def test_a_judge_is_asked_and_its_absence_is_explained(held):
    seat = Seat()
    seat.judge = SimpleNamespace(perplexity=lambda text: 12.0)
    found = ComparePage(held, seat).compare().messages
    last = [message for message in found if message["k"] == "measures"][-1]["measures"]
    assert {lane["perplexity"]["number"] for lane in last["lanes"]} == {12.0}
    seat.judge, seat.problem = None, "The judge has left."
    found = ComparePage(held, seat).compare().messages
    last = [message for message in found if message["k"] == "measures"][-1]["measures"]
    assert {lane["perplexity"]["why"] for lane in last["lanes"]} == {"The judge has left."}


@pytest.mark.parametrize("question", sorted(ALONE & questions_for("absorbing").keys()))
def test_every_question_runs(tab, question):
    seen = tab.compare(question, lanes=4)
    assert seen.is_idle and seen.messages[-1]["state"] == "finished", seen.notice


@pytest.mark.parametrize("question", sorted(ALONE & questions_for("uniform").keys()))
def test_every_question_runs_under_uniform_noise(question):
    tab = ComparePage(HeldCheckpoint(load_checkpoint("exact-world-uniform", device="cpu")))
    seen = tab.compare(question, "The queen [MASK:2] king.", lanes=4)
    assert seen.is_idle and seen.messages[-1]["state"] == "finished", seen.notice


@pytest.mark.parametrize("question", sorted(ALONE & questions_for("gaussian").keys()))
def test_every_question_runs_on_latents(tiny_latent, question):
    tab = ComparePage(HeldCheckpoint(tiny_latent))
    seen = tab.compare(question, "The old [MASK:2] sea.", lanes=4)
    assert seen.is_idle and seen.messages[-1]["state"] == "finished", seen.notice


def test_lanes_of_several_checkpoints_stand_side_by_side(held, tiny, tiny_latent):
    """Each under its own engine, and all over the same canvas."""
    tab = ComparePage(held, others=[HeldCheckpoint(tiny_latent)])
    seen = tab.compare("noises", lanes=4)
    lanes = seen.messages[0]["lanes"]
    assert [lane["label"] for lane in lanes] == ["tiny-mdm, out of masks", "tiny-latent, out of latents"]
    assert [lane["m"]["head"]["checkpoint"] for lane in lanes] == ["tiny-mdm", "tiny-latent"]
    assert [trace.state for trace in tab.bout.contest.runs] == ["finished"] * 2
    alone = runs.begin(tiny_latent, TEXT, 0, tab.bout.contest.plans[1].config)
    list(runs.carry_out(tiny_latent, alone))
    assert runs.summary(tiny_latent, alone)["text"] == runs.summary(tiny_latent, tab.bout.contest.runs[1])["text"]
    last = [message for message in seen.messages if message["k"] == "measures"][-1]["measures"]
    assert all(lane["bits_per_character"]["number"] > 0 for lane in last["lanes"])
    assert "tiny-latent" in tab.wiring.keep_file(tab.bout, gr.EventData(None, {"what": "report"}))


def test_a_checkpoint_alone_has_nobody_to_stand_beside(tab):
    told = tab.compare("noises").notice
    assert told["kind"] == "error" and told["text"].startswith("No other checkpoint here has the same tokens")


def test_stop_ends_the_lanes_and_keeps_them(tab):
    updates, seen = tab.start(), []
    for update in updates:
        seen.append(update)
        if len([u for u in seen if "view" in u]) == 3:  # opened, and two turns
            tab.bout.comparing.stop()
    found = Seen(seen)
    assert found.is_idle and found.kinds().count("turn") in (2, 3)
    assert found.messages[-1]["k"] == "end" and found.messages[-1]["state"] == "stopped"
    ends = next(message for message in found.messages if message["k"] == "lane-end")
    assert {end["state"] for _, end in ends["of"]} == {"stopped"}
    last = [message for message in found.messages if message["k"] == "measures"][-1]["measures"]
    assert last["lanes"][0]["bits_per_character"]["why"] == measures.STOPPED
    assert last["lanes"][0]["nfe"]["number"] == found.kinds().count("turn")


def test_one_lane_that_fails_says_so_and_the_others_are_whole(tab, monkeypatch):
    real = loop.turn_of

    def turn_of(lane, *arguments):
        if lane.config.seed == 1 and lane.step == 2:
            raise RuntimeError("secret at /home")
        return real(lane, *arguments)

    monkeypatch.setattr(loop, "turn_of", turn_of)
    seen = tab.compare()
    ends = dict(next(message for message in seen.messages if message["k"] == "lane-end")["of"])
    assert [ends[index]["state"] for index in range(3)] == ["finished", "finished", "failed"]
    assert ends[2]["say"] == lanes_module.GONE_WRONG
    assert seen.is_idle and seen.messages[-1]["state"] == "finished"
    last = [message for message in seen.messages if message["k"] == "measures"][-1]["measures"]
    assert last["lanes"][0]["bits_per_character"]["number"] > 0
    assert last["lanes"][2]["bits_per_character"]["why"].startswith("The text is not finished")


def test_a_lane_that_cannot_begin_has_its_place(tab):
    seen = tab.compare("samplers", end_of_text="late", lanes=7)
    lanes = seen.messages[0]["lanes"]
    broken = [lane for lane in lanes if "say" in lane]
    assert broken and len(broken) < len(lanes)
    last = [message for message in seen.messages if message["k"] == "measures"][-1]["measures"]
    assert [bool(values) for values in last["lanes"]] == ["m" in lane for lane in lanes]


@pytest.mark.parametrize(
    ("asked", "begins"),
    [
        ({"question": "nonsense"}, "Choose one of the questions"),
        ({"question": None}, "Choose one of the questions"),
        ({"lanes": 0}, "The number of lanes must be"),
        ({"lanes": 2.5}, "The number of lanes must be"),
        ({"text": "no masks"}, "There is nothing to fill"),
        ({"text": "[MASK:99999]"}, ""),
        ({"length": -3}, "The number of new tokens"),
        ({"seed": "x"}, "seed must be a number"),
        ({"sampler": "plug-in"}, "Plug-in posterior of argmax x0 never draws"),
        ({"question": "steps", "sampler": "threshold"}, "Fast-dLLM, threshold takes as many steps"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_any_lane(tab, asked, begins):
    seen = tab.compare(**asked)
    assert seen.is_idle and seen.notice["kind"] == "error" and not seen.of("view")
    assert seen.notice["text"].startswith(begins) and seen.notice["text"].endswith(".")
    assert tab.cost(**asked)["text"] == seen.notice["text"]


def test_something_unforeseen_is_a_sentence_and_is_not_told_on(tab, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("secret")

    monkeypatch.setattr("ddemo.ui.compare.measuring", fail)
    seen = tab.compare()
    assert seen.is_idle and seen.notice == {"text": UNEXPECTED, "kind": "error"}
    assert seen.messages[-1]["state"] == "failed" and seen.kinds().count("turn") == 4


def test_the_cost_is_said_before_and_what_fits_is_offered(tab, monkeypatch):
    told = tab.cost()
    assert told["kind"] == "note"
    length = len(read_text(TEXT, 0, tab.resident.get().codec, 64))
    assert told["text"].startswith(f"3 lanes of {length} tokens, ")
    assert "at most 32 turns together" in told["text"] and "MB" in told["text"]
    monkeypatch.setattr(lanes_module, "free_memory", lambda device: 2_000_000)
    seen = tab.compare(lanes=16)
    assert "would fit" in seen.notice["text"] and not seen.of("view")
    assert seen.of("fit")[-1]["visible"] is True
    fits = seen.of("lanes")[-1]
    assert 1 <= fits < 16
    again = tab.compare(lanes=fits)
    assert again.messages[-1]["state"] == "finished" and again.of("fit")[0]["visible"] is False


def test_choosing_a_question_says_what_it_shows_and_how_many_lanes(tab):
    told, lanes = tab.wiring.about_question("temperature", tab.bout)
    assert "seven temperatures" in told and lanes == 7


def test_a_choice_that_is_reported_twice_leaves_the_lanes_as_the_visitor_set_them(tab):
    tab.wiring.about_question("temperature", tab.bout)
    told, lanes = tab.wiring.about_question("temperature", tab.bout)
    assert "seven temperatures" in told and lanes == gr.skip()
    assert tab.wiring.about_question("argmax", tab.bout)[1] == 5


def test_times_for_people():
    assert [in_seconds(s) for s in (0.2, 12.4, 150)] == ["a second", "12 s", "2 minutes"]


def kept(tab, what):
    return json.loads(tab.wiring.keep_file(tab.bout, gr.EventData(None, {"what": what})))


def test_what_is_on_show_can_be_kept_even_after_a_refusal(tab):
    tab.compare()
    refused = tab.compare(text="nothing to fill")
    assert refused.notice["kind"] == "error" and not refused.messages
    assert json.loads(refused.of("keep")[-1])["offered"]
    assert kept(tab, "numbers")["file"]["name"] == "ddemo-compare-argmax.json"


def test_a_comparison_that_breaks_off_takes_the_one_before_away(tab, monkeypatch):
    tab.compare()

    def fails(*given, **more):
        raise RuntimeError("secret at /home")

    monkeypatch.setattr(compare_module, "measuring", fails)
    broken = tab.compare()
    assert broken.notice["text"] == UNEXPECTED and broken.is_idle
    assert "press Compare first" in kept(tab, "replay")["say"]


def test_a_comparison_can_be_kept_once_there_is_one(tab):
    assert "press Compare first" in kept(tab, "replay")["say"]
    seen = tab.compare()
    assert [json.loads(value)["offered"] for value in seen.of("keep")] == [False, True]
    replay, numbers = kept(tab, "replay")["file"], kept(tab, "numbers")["file"]
    assert replay["name"] == "ddemo-compare-argmax.html" and "mountLanes" in replay["content"]
    told = json.loads(numbers["content"])
    assert numbers["name"] == "ddemo-compare-argmax.json"
    assert [lane["label"] for lane in told["lanes"]] == ["argmax", "sample, seed 0", "sample, seed 1"]
    assert told["lanes"][0]["measures"]["bits_per_character"]["number"] > 0
    assert told["findings"] == [m for m in seen.messages if m["k"] == "measures"][-1]["sentences"]


# ---------------------------------------------------------------- the ladder


class LadderPage:
    OUTPUTS = ("notice", "run", "stop", "plot", "numbers")

    def __init__(self, resident, seat=None):
        self.resident = resident
        self.controls = Controls(kind_of(resident), resident.usual, PLACE)
        self.wiring = LadderWiring(Shelf([resident]), seat or Seat(), self.controls, *self.OUTPUTS)
        self.climbing = OneAtATime()

    def climb(self, text=TEXT, length=0, **settings):
        values = settings_values(self.controls, **settings)
        return self.wiring.climb(self.resident.id, text, length, *values, self.climbing)


@pytest.fixture
def short(monkeypatch):
    """A ladder of two rungs."""
    real = ladder_module.climb
    monkeypatch.setattr(ladder_module, "climb", lambda *a, **k: real(*a, steps=(2, 3), seeds=2, **k))


def test_the_ladder_grows_rung_by_rung(held, short):
    seen = Seen(list(LadderPage(held).climb()))
    tables = [json.loads(value) for value in seen.of("numbers")]
    assert [len(table["rows"]) for table in tables] == [2, 4]
    assert tables[-1]["columns"][1:3] == ["bits a character", "judge perplexity"]
    assert [row[0] for row in tables[-1]["rows"]][:2] == ["2 steps, argmax", "2 steps, samples"]
    assert all(row[2] == "–" for row in tables[-1]["rows"]), "no judge"
    assert any(measures.NO_JUDGE in line for line in tables[-1]["said"])
    assert any(line.startswith("With sampling") for line in tables[-1]["said"])
    plot = json.loads(seen.of("plot")[-1]["value"])
    assert plot["csv"].splitlines()[0].startswith("steps,group,bits_per_character,bits_per_character_stderr")
    assert len(plot["csv"].splitlines()) == 5 and seen.is_idle


def test_a_stopped_ladder_keeps_its_rungs(held, short):
    page, seen = LadderPage(held), []
    for update in page.climb():
        seen.append(update)
        if "numbers" in update:
            page.climbing.stop()
    found = Seen(seen)
    assert found.is_idle and found.notice["text"].startswith("Stopped: 1 of")
    assert len(json.loads(found.of("numbers")[-1])["rows"]) == 2


@pytest.mark.parametrize(
    ("asked", "begins"),
    [({"text": "nothing to fill"}, "There is nothing to fill"), ({"sampler": "threshold"}, "Fast-dLLM, threshold")],
)
def test_a_ladder_that_cannot_be_says_why(held, asked, begins):
    seen = Seen(list(LadderPage(held).climb(**asked)))
    assert seen.is_idle and seen.notice["kind"] == "error" and seen.notice["text"].startswith(begins)


def test_an_unforeseen_failure_of_the_ladder_is_a_sentence(held, monkeypatch):
    def fail(*arguments, **keywords):
        raise RuntimeError("secret")

    monkeypatch.setattr(ladder_module, "climb", fail)
    seen = Seen(list(LadderPage(held).climb()))
    assert seen.is_idle and seen.notice["text"] == ladder_module.UNEXPECTED


def test_loading_problems_reach_both(held):
    def get():
        raise InputError("The weights are damaged.")

    held.get = get
    assert ComparePage(held).compare().notice["text"] == "The weights are damaged."
    assert Seen(list(LadderPage(held).climb())).notice["text"] == "The weights are damaged."


def test_a_session_keeps_no_weights_of_a_comparison(tab):
    """Else what gives way to another checkpoint would stay in memory for as long as the visitor's page is open."""
    tab.compare()
    assert tab.bout.comparison is not None
    seen, found = set(), [tab.bout]
    while found:
        item = found.pop()
        if id(item) in seen or isinstance(item, (type, ModuleType, FunctionType)):
            continue
        seen.add(id(item))
        assert not isinstance(item, Checkpoint)
        found += gc.get_referents(item)
    assert len(seen) > 100, "its runs are there"


def test_an_emptied_number_of_lanes_is_the_usual_one(tab):
    assert len(tab.compare(lanes=None).messages[0]["lanes"]) == 5
