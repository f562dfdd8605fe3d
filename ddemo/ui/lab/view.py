"""What a view of the lab is: its words, what can be set, what it shows, and the function between the two."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ddemo.ui.lab.noised_text import NoisedText
from ddemo.ui.lab.settings import Setting
from ddemo.ui.number_table import NumberTable
from ddemo.ui.plot_view import PlotView
from ddemo.ui.resident import Resident

TEX = [{"left": "$$", "right": "$$", "display": True}, {"left": "$", "right": "$", "display": False}]


def formula(value: str = "", **kwargs) -> gr.Markdown:
    """Words with equations between dollar signs, set by the KaTeX that Gradio brings."""
    return gr.Markdown(value, latex_delimiters=TEX, **kwargs)


KINDS = {"plot": PlotView, "numbers": NumberTable, "texts": NoisedText, "formula": formula}


@dataclass(frozen=True)
class Part:
    """One thing that a view shows.

    Attributes:
        name: key of what the view's answer holds for it.
        kind: one of `KINDS`.
        wide: whether it has a line for itself; others stand beside each other where there is room.
    """

    name: str
    kind: str
    wide: bool = True

    def made(self, place: str) -> gr.components.Component:
        classes = ["dd-plain", "dd-lab-part", "dd-lab-wide" if self.wide else "dd-lab-half"]
        return KINDS[self.kind](elem_id=f"{place}-{self.name}", elem_classes=classes)


@dataclass(frozen=True)
class Update:
    """What a view that works for longer has to say meanwhile.

    Attributes:
        said: how far it is, a sentence.
        shown: part -> value of its component, for those that have changed.
    """

    said: str
    shown: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Work:
    """What a view does that takes longer, beside the runs of other visitors.

    Attributes:
        title: what its button says.
        carry_out: values of the settings, the visitor's checkpoint, and a function that says whether it was stopped
            -> updates as they come. It raises InputError as the view's `answer` does, and StoppedWaiting.
    """

    title: str
    carry_out: Callable[[Mapping[str, Any], Resident, Callable[[], bool]], Iterator[Update]]


@dataclass(frozen=True)
class View:
    """One view of the lab.

    Attributes:
        name: in links and ids.
        title: in the list of views.
        words: a paragraph with its equation and its source, Markdown and TeX.
        settings: what the visitor can set, from top to bottom.
        parts: what is shown.
        answer: values of the settings and the visitor's checkpoint -> part -> value of its component; a name of
            `updated` may be among them, with an update of its control. It raises InputError for what cannot be shown.
        of_checkpoint: whether the answer depends on the checkpoint, so that a link has to name it.
        work: of a view which has some. `answer` is then what can be shown without the weights; parts that it leaves
            out stay as they are.
        updated: settings whose controls the answer may update, as to hide them; for each other one a move would
            cost the server time.
    """

    name: str
    title: str
    words: str
    settings: tuple[Setting, ...]
    parts: tuple[Part, ...]
    answer: Callable[[Mapping[str, Any], Resident], dict[str, Any]]
    of_checkpoint: bool = False
    work: Work | None = None
    updated: tuple[str, ...] = ()

    def __post_init__(self):
        names = [item.name for item in (*self.settings, *self.parts)]
        if len(set(names)) < len(names):
            raise ValueError(f"settings and parts of {self.name} must have names of their own, not {names}")

    def values(self, held: list[Any]) -> dict[str, Any]:
        """What the controls hold, in the order of `settings`, checked; raises InputError."""
        return {setting.name: setting.read(value) for setting, value in zip(self.settings, held, strict=True)}
