"""Lanes side by side as messages that the lanes view in the browser understands, one for each turn of the batch."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddemo.sampling import Frame
from ddemo.trace import Trace
from ddemo.ui.token_canvas.messages import Messages, dump


@dataclass(frozen=True)
class ShownLane:
    """A lane as it stands on the page.

    Attributes:
        label: what sets it apart: "argmax", "sample, seed 7".
        about: one short line about it.
        group: name of the lanes that are measured together with it; "" for none.
        trace: its run, None where it could not begin; frames may be added to it while messages are written.
        problem: one sentence: why it could not begin, or why it failed on its way.

    Raises:
        ValueError: neither a trace nor a problem, or a trace that was edited on its way.
    """

    label: str
    about: str
    group: str
    trace: Trace | None
    problem: str = ""

    def __post_init__(self):
        if self.trace is None and not self.problem:
            raise ValueError(f"problem is empty, and the lane {self.label!r} has no trace")
        if self.trace is not None and len(self.trace.segments) > 1:
            raise ValueError(f"trace has {len(self.trace.segments)} segments, and a lane is a run without edits")


class LaneMessages:
    """Writes the messages of one comparison, in order; each token's text is sent once a lane.

    Args:
        run: an identifier that cannot be guessed.
        title: what is compared.
        question: what it is to answer.
        lanes: all over the same canvas.
    """

    def __init__(self, run: str, title: str, question: str, lanes: Sequence[ShownLane]):
        self.run = run
        self.title = title
        self.question = question
        self.lanes = list(lanes)
        self._of_lane = [lane.trace and Messages(f"{run}/{index}", lane.trace) for index, lane in enumerate(lanes)]
        self._number = 0

    def open(self) -> str:
        """The lanes before any step."""
        lanes = [self._opened(lane, inner) for lane, inner in zip(self.lanes, self._of_lane, strict=True)]
        return self._message("lanes", head={"title": self.title, "question": self.question}, lanes=lanes)

    def turn(self, steps: Iterable[tuple[int, Frame]]) -> str:
        """What the batch did in one turn: the lanes that took a step, each with its frame."""
        return self._of_some("turn", ((index, self._of_lane[index].frame(frame)) for index, frame in steps))

    def ended(self, indices: Iterable[int], say: str = "") -> str:
        """Lanes that take no more steps; their traces say how they ended.

        Args:
            say: why, where it was not to be expected; the lanes' own problems by default.
        """
        ends = ((index, self._of_lane[index].end(say or self.lanes[index].problem)) for index in indices)
        return self._of_some("lane-end", ends)

    def measuring(self, done: int, total: int) -> str:
        return self._message("measuring", done=done, all=total)

    def measures(self, measures: Mapping[str, Any], sentences: Sequence[str] = ()) -> str:
        """What was measured so far; may be sent again when more is.

        Args:
            measures: {"lanes": [{name: value}], "groups": [{"name", "label", "lanes", "values": {name: value}}]}, a
                value being {"number", "error", "why"}; see `ddemo.measures.Value`.
            sentences: what the numbers say, one sentence each.
        """
        return self._message("measures", measures=measures, sentences=list(sentences))

    def end(self, state: str = "finished", say: str = "") -> str:
        return self._message("end", state=state, say=say)

    def whole(self, measures: Mapping[str, Any] | None = None, sentences: Sequence[str] = ()) -> str:
        """Everything in one message, for a stored comparison or a replay; only as the first message."""
        traces = {index: lane.trace for index, lane in enumerate(self.lanes) if lane.trace}
        parts = [self.open()]
        for turn in range(max((len(trace.frames) for trace in traces.values()), default=0)):
            steps = [(index, trace.frames[turn]) for index, trace in traces.items() if turn < len(trace.frames)]
            parts.append(self.turn(steps))
        parts.append(self.ended(traces))
        if measures is not None:
            parts.append(self.measures(measures, sentences))
        parts.append(self.end(self._state()))
        return f'{{"k":"whole","run":{json.dumps(self.run)},"m":[{",".join(parts)}]}}'

    def _state(self) -> str:
        """How lanes that have all ended ended: one that failed leaves the others what they are."""
        states = {lane.trace.state for lane in self.lanes if lane.trace} - {"failed"}
        return "stopped" if "stopped" in states else "finished" if states else "failed"

    def _opened(self, lane: ShownLane, inner: Messages | None) -> dict[str, Any]:
        told = {"label": lane.label, "about": lane.about, "group": lane.group}
        return told | ({"m": json.loads(inner.open())} if inner else {"say": lane.problem})

    def _of_some(self, kind: str, inner: Iterable[tuple[int, str]]) -> str:
        """Messages of single lanes in one; read again, since text inside text would be escaped twice over."""
        return self._message(kind, of=[[index, json.loads(message)] for index, message in inner])

    def _message(self, kind: str, **content) -> str:
        message = {"k": kind, "run": self.run, "n": self._number, **content}
        self._number += 1
        return dump(message)
