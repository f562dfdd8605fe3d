"""The Compare tab: a question, lanes side by side, and what the numbers say; and the steps ladder under it."""

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ddemo import runs
from ddemo.compare import MOST_LANES, QUESTIONS, Contest, CostLimit, Question, cost_of, questions_for, set_up
from ddemo.compare.findings import findings
from ddemo.compare.lanes import in_bytes
from ddemo.compare.report import labels, report
from ddemo.errors import InputError
from ddemo.measures import Comparison, Value, measuring
from ddemo.sampling import Engine
from ddemo.ui.choices import FreeRadio
from ddemo.ui.chosen import Header, kept_text, kind_of, only_if_new, tries_of
from ddemo.ui.controls import CHOICE, DRAW, OF_ANY_RUN, Controls
from ddemo.ui.denoise import UNEXPECTED, DenoiseTab, named
from ddemo.ui.judge_seat import JudgeSeat
from ddemo.ui.keep import Keep, hand_over, offer, refuse
from ddemo.ui.ladder import add_ladder
from ddemo.ui.lanes import LaneView
from ddemo.ui.lanes.messages import LaneMessages, ShownLane
from ddemo.ui.notice import Notice, tell
from ddemo.ui.replay import replay_of_lanes
from ddemo.ui.resident import Resident, StoppedWaiting
from ddemo.ui.shelf import Shelf
from ddemo.ui.visits import (
    AT_ONCE,
    OneAtATime,
    SentMessages,
    Work,
    data_of,
    forgotten_with_the_session,
    new_run_id,
)

log = logging.getLogger(__name__)

TAB, PLACE = "compare", "compare-"
LABELS = {"argmax": "argmax", "samples": "{count} samples"}  # of groups, in the table


def compare_tab(
    shelf: Shelf, header: Header, seat: JudgeSeat, tabs: gr.Tabs, tab: gr.Tab, carried: DenoiseTab
) -> "Layout":
    """Lay out the tab and connect its controls; must be called inside a Blocks context.

    Args:
        tabs, tab: where it is laid out.
        carried: the tab whose text and settings a button brings here.
    """
    sent = SentMessages(kept=16)
    bout = forgotten_with_the_session(Bout())
    controls = Controls(kind_of(shelf.default), shelf.default.usual, PLACE)
    layout = Layout(shelf, header, controls)
    view = LaneView(messages=named("messages", sent.since), elem_id="lanes", elem_classes=["dd-plain"])
    keep = Keep(elem_id="keep", elem_classes=["dd-plain"])
    wiring = _Wiring(shelf, seat, sent, controls, layout, view, keep)
    costly = [header.picker, layout.question, layout.text, layout.length, layout.lanes, *controls.components]
    inputs = [*costly, bout]
    streaming = {
        "outputs": [view, layout.notice, layout.run, layout.stop, layout.fit, layout.lanes, keep],
        "concurrency_id": "model",
        "concurrency_limit": AT_ONCE,
        "show_progress": "minimal",
        "show_progress_on": layout.notice,
        "api_visibility": "private",
        "trigger_mode": "once",
    }
    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    layout.run.click(wiring.compare, inputs, **streaming)
    layout.text.submit(wiring.compare, inputs, **streaming)
    layout.stop.click(stop, bout, None, **quiet)
    keep.keep(wiring.keep_file, bout, keep, trigger_mode="multiple", **quiet)
    layout.fit.click(wiring.compare, inputs, **streaming)  # as many as fit stand in the field by now
    layout.question.change(wiring.about_question, [layout.question, bout], [layout.about, layout.lanes], **quiet)
    gr.on(
        [tab.select, *(component.change for component in costly)],
        wiring.cost,
        costly,
        layout.cost,
        trigger_mode="always_last",
        **quiet,
    )
    add_ladder(shelf, seat, controls, header.picker, layout.text, layout.length)
    _bring(carried, tabs, layout, controls)
    return layout


def _bring(carried: DenoiseTab, tabs: gr.Tabs, layout: "Layout", controls: Controls) -> None:
    """The other tab's text and settings come here, and this tab is shown."""
    theirs, ours = carried.controls.components, controls.components
    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    brought = carried.carry.click(
        lambda *values: (gr.Tabs(selected=TAB), *values),
        [carried.text, carried.length, *theirs],
        [tabs, layout.text, layout.length, *ours],
        **quiet,
    )
    # Choosing a sampler sets its own settings to their defaults, in the browser: those of the other tab come after.
    brought.then(lambda *values: values, theirs, ours, **quiet)


@dataclass
class Bout:
    """What the server remembers of a visitor's comparison.

    Attributes:
        comparing: the comparison that is under way, stopped between two steps and two measures.
        asked: the question that the number of lanes was last set for.
        question: that was put last.
        contest, comparison, told: lanes, measures and report of what is on show; comparison is None until it is
            measured.
    """

    comparing: OneAtATime = field(default_factory=OneAtATime)
    asked: str = next(iter(QUESTIONS))
    question: Question | None = None
    contest: Contest | None = None
    comparison: Comparison | None = None
    told: dict[str, Any] = field(default_factory=dict)


class Layout:
    """The controls of the tab, from top to bottom."""

    def __init__(self, shelf: Shelf, header: Header, controls: Controls):
        self.shelf, self.controls = shelf, controls
        first = tries_of(shelf.default)[0]
        question = next(iter(QUESTIONS.values()))
        with gr.Column(elem_classes=["dd-controls"]):
            self.question = FreeRadio(
                _offered(shelf, shelf.default),
                value=question.name,
                label="What do you want to see?",
                elem_id="question",
                elem_classes=["dd-question"],
            )
            self.about = Notice(tell(question.sentence), elem_id="about-question", elem_classes=["dd-plain"])
            self.text = gr.Textbox(
                first.text,
                label="Text that all lanes get",
                info="As on Denoise: [MASK], [MASK:5] or three underscores are filled, other text is continued.",
                lines=2,
                max_lines=12,
                max_length=100_000,
                elem_id="compare-text",
                elem_classes=["dd-text"],
            )
            with gr.Row(elem_classes=["dd-main-settings"], equal_height=True):
                controls.add(CHOICE)
                self.length = gr.Number(
                    first.length, label="New tokens", precision=0, min_width=110, elem_id="compare-length"
                )
                self.lanes = gr.Number(
                    question.usual,
                    label="Lanes at most",
                    precision=0,
                    minimum=1,
                    maximum=MOST_LANES,
                    min_width=110,
                    elem_id="compare-lanes",
                )
                with gr.Column(min_width=160, elem_classes=["dd-go"]):
                    self.run = gr.Button("Compare", variant="primary", elem_id="compare")
                    self.stop = gr.Button(
                        "Stop", variant="stop", visible=False, elem_id="compare-stop", elem_classes=["dd-stop"]
                    )
            with gr.Row(elem_classes=["dd-sampler-settings"]):
                with gr.Column(min_width=320, elem_classes=["dd-about-column"]):
                    controls.add_about()
                controls.add(*controls.of_samplers)
            self.cost = Notice(elem_id="cost", elem_classes=["dd-plain"])
            with gr.Row(elem_classes=["dd-notice-row"]):
                self.notice = Notice(elem_id="compare-notice", elem_classes=["dd-plain"])
                self.fit = gr.Button("Compare what fits", size="sm", visible=False, elem_id="fit", scale=0)
            with gr.Accordion("More settings", open=False, elem_classes=["dd-more"]), gr.Row():
                controls.add(DRAW, *OF_ANY_RUN)
        controls.connect(header.chosen)

    @property
    def switching(self) -> list[gr.components.Component]:
        """What `switched` has updates for."""
        return [self.question, self.text, self.length, *self.controls.components, self.controls.about]

    def switched(self, resident: Resident, question: Any, text: Any, length: Any) -> dict:
        """Updates for another checkpoint: a question that makes no sense for its noise gives way to the first.

        One that still does is left alone, as a text is: the visitor may have chosen another since this was asked for.
        """
        offered = _offered(self.shelf, resident)
        instead = {} if question in [name for _, name in offered] else {"value": offered[0][1]}
        held = text, length
        text, length = kept_text(text, length, resident)
        return {
            self.question: gr.update(choices=offered, **instead),
            self.text: only_if_new(text, held[0]),
            self.length: only_if_new(length, held[1]),
            **self.controls.switched(kind_of(resident), resident.usual),
        }


def _offered(shelf: Shelf, resident: Resident) -> list[tuple[str, str]]:
    """Title and name of the questions that can be put to a checkpoint."""
    alone = len(shelf.companions(resident)) < 2
    asked = questions_for(resident.process).values()
    return [(item.title, item.name) for item in asked if not (item.across and alone)]


class _Wiring:
    """The handlers; they convert values, call `ddemo.compare` and pass messages on."""

    def __init__(
        self,
        shelf: Shelf,
        seat: JudgeSeat,
        sent: SentMessages,
        controls: Controls,
        layout: Layout,
        view: LaneView,
        keep: Keep,
    ):
        self.shelf = shelf
        self.seat = seat
        self.sent = sent
        self.controls = controls
        self.layout = layout
        self.view = view
        self.keep = keep

    def compare(self, checkpoint, question, text, length, lanes, *values) -> Iterator[dict]:
        """Run the lanes of a question and measure them, as a stream."""
        *settings, bout = values
        ours, messages = bout.comparing.begin(), None
        try:
            yield self._busy()
            resident = self.shelf[checkpoint]
            asked = self._asked(resident, question)
            yield from self._wait_for(asked, ours)
            with at_work(asked) as engines:
                contest = self._set_up(resident, question, text, length, lanes, settings)
                run = new_run_id()
                messages = messages_of(run, QUESTIONS[question], contest)
                bout.question, bout.comparison = QUESTIONS[question], None  # the one before is no longer on show
                yield {self.view: self.sent.add(run, messages.open()), self.layout.notice: tell("")}
                for turn in contest.carry_out(ours.stopped, engines):
                    yield {self.view: self.sent.add(run, messages.turn(turn))}
                yield {self.view: self.sent.add(run, _ended(messages, contest))}
                yield from self._measure(resident, messages, contest, bout, ours)
            state = "stopped" if ours.stop else "finished"
            yield {self.view: self.sent.add(run, messages.end(state))} | self._idle(bout, ours)
        except StoppedWaiting as told:
            if bout.comparing.now is ours:
                yield {self.layout.notice: tell(str(told))} | self._idle(bout, ours)
        except CostLimit as limit:
            fits = {self.layout.fit: gr.update(visible=limit.fits > 0), self.layout.lanes: max(limit.fits, 1)}
            told = {self.layout.notice: tell(str(limit), "error")}
            yield told | self._idle(bout, ours) | (fits if limit.fits else {})
        except InputError as problem:
            told = {self.layout.notice: tell(str(problem), "error")}
            yield told | self._idle(bout, ours) | self._failed(messages)
        except Exception:
            log.exception("a comparison failed")
            told = {self.layout.notice: tell(UNEXPECTED, "error")}
            yield told | self._idle(bout, ours) | self._failed(messages)

    def about_question(self, name: str, bout: Bout) -> tuple[str, Any]:
        """What a question shows, and its usual number of lanes."""
        question = QUESTIONS[name]
        # A busy browser may report one choice twice, the second time when the visitor has set the lanes already.
        again, bout.asked = name == bout.asked, name
        return tell(question.sentence), gr.skip() if again else question.usual

    def cost(self, checkpoint, question, text, length, lanes, *settings) -> str:
        """What the lanes would take, in one line; silent while a checkpoint is loading."""
        try:
            resident = self.shelf[checkpoint]
            if any(other.loading for other in self._asked(resident, question)):
                return tell("")
            contest = self._set_up(resident, question, text, length, lanes, settings)
        except InputError as problem:
            return tell(str(problem), "error")
        cost = cost_of(resident.get(), contest.runs, contest.checkpoints)
        seconds = cost.passed * resident.pace
        return tell(
            f"{cost.lanes} lanes of {cost.tokens:,} tokens, at most {cost.turns:,} turns together: about "
            f"{in_seconds(seconds)}, up to {in_bytes(cost.memory)}."
        )

    def _wait_for(self, residents: Iterable[Resident], ours: Work) -> Iterator[dict]:
        for resident in residents:
            if not resident.loaded:
                yield {self.layout.notice: tell(f"Loading {resident.id}: the lanes begin as soon as it is there.")}
                resident.await_weights(ours.stopped)

    def _asked(self, resident: Resident, question: Any) -> list[Resident]:
        """The checkpoints that a question is put to."""
        across = question in QUESTIONS and QUESTIONS[question].across
        return self.shelf.companions(resident) if across else [resident]

    def _set_up(self, resident: Resident, question, text, length, lanes, settings) -> Contest:
        if question not in questions_for(resident.process):
            raise InputError("Choose one of the questions.")
        given = self.controls.values(settings, kind_of(resident))
        companions = {other.id: other.usual for other in self._asked(resident, question)}
        plans = QUESTIONS[question].plans(given, resident.process, _whole(lanes), companions)
        text, length = runs.checked_request(text or "", length or 0)
        return set_up(resident.get(), [text], length, plans, others=lambda name: self.shelf[name].get())

    def _measure(
        self, resident: Resident, messages: LaneMessages, contest: Contest, bout: Bout, ours: Work
    ) -> Iterator[dict]:
        """The table and the sentences, growing lane by lane; what takes no time is there at once."""
        run, judge, problem = messages.run, None, self.seat.problem
        if self.seat.waiting and not ours.stop:
            yield {self.layout.notice: tell("Loading the judge; it stays loaded afterwards.")}
        if not ours.stop:
            judge, problem = self.seat.ask(ours.stopped), self.seat.problem
        checkpoint = resident.get()
        for found in measuring(checkpoint, contest.runs, contest.groups(), judge, problem, ours.stopped):
            told, said = for_page(contest, found), said_of(contest, found)
            yield {self.view: self.sent.add(run, messages.measuring(found.done, len(contest.runs)))}
            yield {self.view: self.sent.add(run, messages.measures(told, said)), self.layout.notice: tell("")}
        contest.checkpoints.clear()  # they have run: the visitor's session must not keep their weights in memory
        bout.contest, bout.comparison = contest, found
        bout.told = report(checkpoint, bout.question, contest, found)

    def keep_file(self, bout: Bout, event: gr.EventData) -> str:
        """A file of the last comparison, for the browser to save."""
        if bout.comparison is None:
            return refuse("There is no comparison to keep: press Compare first.")
        name = f"ddemo-compare-{bout.question.name}"
        try:
            if data_of(event).get("what") == "replay":
                return hand_over(f"{name}.html", "text/html", replay_of(bout.question, bout.contest, bout.comparison))
            return hand_over(f"{name}.json", "application/json", json.dumps(bout.told, ensure_ascii=False, indent=1))
        except Exception:
            log.exception("a comparison could not be kept")
            return refuse(UNEXPECTED)

    def _busy(self) -> dict:
        layout = self.layout
        hidden, shown = gr.update(visible=False), gr.update(visible=True)
        return {
            layout.run: hidden,
            layout.stop: shown,
            layout.fit: hidden,
            layout.notice: tell(""),
            self.keep: offer(False),
        }

    def _idle(self, bout: Bout, ours: Work) -> dict:
        """The buttons as they are when nothing runs, unless something does by now; the files of what is on show."""
        if bout.comparing.now is not ours:
            return {}
        buttons = {self.layout.run: gr.update(visible=True), self.layout.stop: gr.update(visible=False)}
        return buttons | ({self.keep: offer()} if bout.comparison else {})

    def _failed(self, messages: LaneMessages | None) -> dict:
        if messages is None:
            return {}
        return {self.view: self.sent.add(messages.run, messages.end("failed", "The comparison ended here."))}


@contextmanager
def at_work(residents: Iterable[Resident]) -> Iterator[dict[str, Engine]]:
    """The engine of each, by its id; none of them gives way to another checkpoint meanwhile. Waits as `get`."""
    with ExitStack() as working:
        yield {resident.id: working.enter_context(resident.at_work()).engine for resident in residents}


def shown_lanes(contest: Contest) -> list[ShownLane]:
    """The lanes as the page shows them: each says what it does not share with all others."""
    shared = set(contest.shared)
    return [
        ShownLane(
            plan.label, " · ".join(part for part in plan.about if part not in shared), plan.group, trace, problem
        )
        for plan, trace, problem in zip(contest.plans, contest.traces, contest.problems, strict=True)
    ]


def messages_of(run: str, question: Question, contest: Contest) -> LaneMessages:
    """Writes the messages of a contest; its heading says what all lanes share."""
    about = " · ".join([question.sentence.rstrip("."), *contest.shared])
    return LaneMessages(run, question.title, about, shown_lanes(contest))


def said_of(contest: Contest, comparison: Comparison) -> list[str]:
    """What the numbers say, once all of them are there."""
    whole = comparison.done == len(contest.runs)
    return findings(comparison, labels(contest), contest.groups()) if whole else []


def replay_of(question: Question, contest: Contest, comparison: Comparison) -> str:
    """A comparison as one HTML file that plays anywhere."""
    messages = messages_of("replay", question, contest)
    return replay_of_lanes(messages, for_page(contest, comparison), said_of(contest, comparison))


def _ended(messages: LaneMessages, contest: Contest) -> str:
    messages.lanes = shown_lanes(contest)  # with what went wrong on the way
    return messages.ended(contest.begun)


def for_page(contest: Contest, comparison: Comparison) -> dict[str, Any]:
    """A comparison as the lanes view reads it: one table of values a lane, and one a group."""
    by_lane: list[dict[str, Value]] = [{} for _ in contest.plans]
    for index, values in zip(contest.begun, comparison.lanes, strict=True):
        by_lane[index] = values
    groups = [
        {
            "name": name,
            "label": LABELS.get(name, name).format(count=len(places)),
            "lanes": [contest.begun[place] for place in places],
            "values": plain(comparison.groups[name]),
        }
        for name, places in contest.groups().items()
        if len(places) > 1
    ]
    return {"lanes": [plain(values) for values in by_lane], "groups": groups}


def plain(values: dict[str, Value]) -> dict[str, Any]:
    """Values for JSON."""
    return {name: {"number": v.number, "error": v.error, "why": v.why} for name, v in values.items()}


def stop(bout: Bout) -> None:
    """The lanes end at their next step, and what is not measured yet stays so."""
    bout.comparing.stop()


def _whole(number: Any) -> Any:
    """A browser's number as a whole one where it is one; anything else is refused where it is checked."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def in_seconds(seconds: float) -> str:
    """A time for people."""
    return "a second" if seconds < 1.5 else f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"
