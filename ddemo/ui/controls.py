"""The page's controls for settings, built from the samplers' definitions, and what each sampler shows of them."""

import json
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ddemo.denoisers import TextCodec
from ddemo.errors import InputError
from ddemo.sampling import SAMPLERS, Sampler, SamplerConfig
from ddemo.sampling.samplers import of_process
from ddemo.settings import SETTINGS, about_seed, choices_for, default_sampler, settings_of
from ddemo.ui.about import About

CHOICE, DRAW = "sampler", "draw"
OF_ANY_RUN = ("temperature", "top_k", "top_p", "block_length", "guidance", "end_of_text", "seed")  # folded away
STEPS = {"temperature": 0.1, "top_p": 0.05}  # of the arrows in a field
# Runs in the browser, so that a sampler's settings are there at once: the table holds what each sampler shows. What a
# visitor typed stays, unless the sampler brings its own value or does not know the one that is held.
SHOW = """(table => (sampler, ...held) => (table[sampler] || []).map((update, at) => {
  const known = !update.choices || update.choices.some(([, value]) => value === held[at]);
  return 'value' in update || known ? update : {...update, value: update.choices[0][1]};
}))"""


@dataclass
class Controls:
    """A control for each setting of the checkpoint's samplers.

    Attributes:
        process: the noise that the checkpoint reverses.
        can_end: whether it has a token that ends a text.
        place: what the controls' ids begin with, where a page has them twice.
        inputs: setting -> control.
        about: what the chosen sampler is, and what the seed decides where nothing is drawn.
    """

    process: str
    can_end: bool
    place: str = ""
    inputs: dict[str, gr.components.Component] = field(default_factory=dict)
    about: About | None = None

    @classmethod
    def of(cls, process: str, codec: TextCodec, place: str = "") -> "Controls":
        return cls(process, len(codec.ends) > 0, place)

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that any of these samplers reads."""
        read = {name for sampler in of_process(self.process) for name in self.read_by(sampler)}
        return tuple(name for name in SETTINGS if name in read)

    @property
    def components(self) -> list[gr.components.Component]:
        """The controls in the order of `names`, which is that of the values that handlers get."""
        return [self.inputs[name] for name in self.names]

    def read_by(self, sampler: Sampler) -> tuple[str, ...]:
        return settings_of(sampler, self.process, self.can_end)

    def add(self, *names: str) -> None:
        """Put the controls of these settings here, as the first sampler wants them."""
        sampler = default_sampler(self.process)
        for name in names:
            if name in self.names:
                self.inputs[name] = self._made(name, sampler)

    @property
    def of_samplers(self) -> tuple[str, ...]:
        """The settings that stand beside what the sampler is: steps and knobs."""
        return tuple(name for name in self.names if name not in (CHOICE, DRAW, *OF_ANY_RUN))

    def add_about(self) -> None:
        """Put the lines here that tell what the sampler is."""
        told = about(default_sampler(self.process))
        self.about = About(told, elem_classes=["dd-plain"], elem_id=f"{self.place}about")

    def _made(self, name: str, sampler: Sampler) -> gr.components.Component:
        setting = SETTINGS[name]
        shown = {"value": setting.default, "label": setting.label} | self.shown(name, sampler, first=True)
        shown |= {"min_width": 120, "elem_id": self.place + name.replace("_", "-")}
        shown["elem_classes"] = ["dd-setting", f"dd-of-{name.replace('_', '-')}"]
        if name == CHOICE:
            choices = [(item.title, item.name) for item in of_process(self.process)]
            return gr.Dropdown(**shown | {"choices": choices, "value": sampler.name, "min_width": 240})
        if name == DRAW:
            return gr.Radio(**shown | {"choices": list(setting.choices), "min_width": 180})
        if setting.choices:
            return gr.Dropdown(**shown | {"choices": [_spoken(choice) for choice in setting.choices]})
        return gr.Number(**shown, precision=0 if setting.kind is int else None, step=STEPS.get(name))

    def shown(self, name: str, sampler: Sampler, first: bool = False) -> dict[str, Any]:
        """What a control shows for a sampler: whether it is there, and the sampler's own label, value and choices."""
        update: dict[str, Any] = {"visible": name in self.read_by(sampler)}
        if not update["visible"] or name == CHOICE:
            return update
        if knob := sampler.knob(name):
            update |= {"label": knob.label, "value": knob.default}
        if SETTINGS[name].choices and not first:  # all of them at first: the server knows no others afterwards
            update["choices"] = [list(_spoken(choice)) for choice in choices_for(name, sampler, self.process)]
        return update

    def connect(self) -> None:
        """Choosing a sampler shows its settings and what it is; any change tells what the seed decides."""
        others = [name for name in self.names if name != CHOICE]
        controls = [self.inputs[name] for name in others]
        table = {
            sampler.name: [
                {"__type__": "update", **update}
                for update in [*(self.shown(name, sampler) for name in others), {"value": about(sampler)}]
            ]
            for sampler in of_process(self.process)
        }
        self.inputs[CHOICE].change(
            None, [self.inputs[CHOICE], *controls], [*controls, self.about], js=f"{SHOW}({json.dumps(table)})"
        )
        gr.on(
            [control.change for control in self.components],
            self.about_run,
            self.components,
            self.about,
            queue=False,
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )

    def about_run(self, *values) -> str:
        """What the sampler is and what the seed decides under these settings, once they are in order."""
        given = self.values(values)
        try:
            config = SamplerConfig.from_values(given)
        except InputError:
            return about(SAMPLERS.get(given[CHOICE]))
        return about(SAMPLERS[config.sampler], about_seed(config, self.process))

    def values(self, values, **instead) -> dict[str, Any]:
        """The values that the chosen sampler reads, by name; an emptied field is refused where it is checked."""
        given = dict(zip(self.names, values, strict=True)) | instead
        sampler = SAMPLERS.get(given[CHOICE]) if isinstance(given[CHOICE], str) else None
        read = self.read_by(sampler) if sampler else (CHOICE,)
        return {name: "" if given[name] is None else given[name] for name in read}


def about(sampler: Sampler | None, seed: str = "") -> str:
    """The value of `About` for a sampler, with what the seed decides."""
    if sampler is None:
        return "{}"
    knobs = [[knob.label, knob.sentence] for knob in sampler.knobs]
    told = {"sentence": sampler.sentence, "source": sampler.source, "knobs": knobs, "seed": seed}
    return json.dumps(told, ensure_ascii=False)


def headings() -> str:
    """CSS that writes each group's name above its first sampler in the open list."""
    rules = []
    for process in dict.fromkeys(process for sampler in SAMPLERS.values() for process in sampler.processes):
        group = ""
        for sampler in of_process(process):
            if sampler.group != group:
                group = sampler.group
                item = f".dd-{process} .dd-of-sampler li[aria-label={json.dumps(sampler.title)}]"
                rules += [f"{item} {{ margin-top: 30px; }}", f"{item}::before {{ content: {json.dumps(group)}; }}"]
    return "\n".join(rules)


def _spoken(choice: str) -> tuple[str, str]:
    return choice.replace("-", " "), choice
