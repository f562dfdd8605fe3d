"""What a visitor can set in a view of the lab: the control, what is read from it, and how a link writes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ddemo.errors import InputError
from ddemo.permalink import check_characters
from ddemo.sampling.config import quoted
from ddemo.ui.choices import FreeDropdown, FreeRadio, FreeSlider

MOST_CHARACTERS = 20_000
LARGEST = 1e15  # of a number that is repeated in a sentence; a whole number may be too large to be a float


@dataclass(frozen=True)
class Range:
    """A number on a slider; whole where `step` is.

    Attributes:
        name: in links and among the values that a view gets.
        label: on the page.
        low, high: both included.
    """

    name: str
    label: str
    low: float
    high: float
    step: float
    default: float

    def made(self, place: str) -> gr.components.Component:
        """The control; its id is `place` and the setting's name."""
        return FreeSlider(
            self.low, self.high, self.default, step=self.step, label=self.label, **_look(place, self.name, "range")
        )

    def read(self, held: Any) -> float:
        """Raises InputError unless it is a number of the range."""
        whole = isinstance(self.step, int)
        if isinstance(held, bool) or not isinstance(held, int | float) or not abs(held) <= LARGEST:
            raise InputError(f"{self.label} must be a number from {self.low:g} to {self.high:g}.")
        if not self.low <= held <= self.high or (whole and held != int(held)):
            kind = "whole number" if whole else "number"
            raise InputError(f"{self.label} must be a {kind} from {self.low:g} to {self.high:g}, not {held:g}.")
        return int(held) if whole else float(held)

    def parsed(self, said: str) -> Any:
        """What a link says, as the control would hold it."""
        try:
            return self.read(float(said))
        except ValueError as problem:  # an InputError is one
            if isinstance(problem, InputError):
                raise
            raise InputError(f"{self.label} must be a number, and this link says {quoted(said)}.") from None


@dataclass(frozen=True)
class Choice:
    """One of a few, as buttons in a row, or as a drop-down list where they are many.

    Attributes:
        choices: value -> what the page calls it.
    """

    name: str
    label: str
    choices: Mapping[str, str]
    default: str
    folded: bool = False

    def made(self, place: str) -> gr.components.Component:
        offered = [(title, value) for value, title in self.choices.items()]
        kind = FreeDropdown if self.folded else FreeRadio
        return kind(offered, value=self.default, label=self.label, **_look(place, self.name, "choice"))

    def read(self, held: Any) -> str:
        """Raises InputError unless it is one of the choices."""
        if not isinstance(held, str) or held not in self.choices:
            raise InputError(f"{self.label} must be one of {', '.join(self.choices.values())}.")
        return held

    def parsed(self, said: str) -> str:
        return self.read(said)


@dataclass(frozen=True)
class Written:
    """Text of the visitor's own."""

    name: str
    label: str
    default: str
    info: str
    lines: int = 2

    def made(self, place: str) -> gr.components.Component:
        return gr.Textbox(
            self.default,
            label=self.label,
            info=self.info,
            lines=self.lines,
            max_lines=10,
            max_length=MOST_CHARACTERS,
            **_look(place, self.name, "written" if self.lines > 1 else "short"),
        )

    def read(self, held: Any) -> str:
        """Raises InputError for what is no text, or too long."""
        if not isinstance(held, str) or len(held) > MOST_CHARACTERS:
            raise InputError(f"{self.label} must be a text of at most {MOST_CHARACTERS:,} characters.")
        return held

    def parsed(self, said: str) -> str:
        check_characters(said)
        return self.read(said)


Setting = Range | Choice | Written


def _look(place: str, name: str, kind: str) -> dict[str, Any]:
    return {"elem_id": f"{place}-{name.replace('_', '-')}", "elem_classes": [f"dd-lab-{kind}"], "min_width": 150}
