"""The page's controls for settings, built from the samplers' definitions, and what each sampler shows of them."""

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import gradio as gr

from ddemo.compare.questions import NOISE
from ddemo.denoisers.caches import BOTH_WAYS, BY_BLOCKS, NO_CACHES, NONE, CacheKinds
from ddemo.errors import InputError
from ddemo.sampling import SAMPLERS, Sampler, SamplerConfig
from ddemo.sampling.samplers import of_process
from ddemo.settings import SETTINGS, Usual, about_seed, choices_for, settings_of
from ddemo.ui.about import About
from ddemo.ui.choices import FreeDropdown

CHOICE, DRAW, CACHE = "sampler", "draw", "cache"
OF_ANY_RUN = (
    "temperature",
    "top_k",
    "top_p",
    "block_length",
    CACHE,
    "guidance",
    "end_of_text",
    "seed",
)  # folded away
WITH_CACHE = ", cache "  # in a kind's key; what a sampler shows does not depend on it
STEPS = {"temperature": 0.1, "top_p": 0.05}  # of the arrows in a field
# Runs in the browser, so that settings are there at once: the table holds what each sampler shows for each kind of
# checkpoint. What a visitor typed stays, unless the checkpoint recommends a value with this sampler, or the sampler
# brings its own or does not know the one that is held.
SHOW = """((of, names) => (chosen, sampler, ...held) => {
  const {kind, usual} = JSON.parse(chosen);
  return (of[kind.split(CACHE)[0]][sampler] || []).map((update, at) => {
    if (usual.sampler === sampler && names[at] in usual) return {...update, value: usual[names[at]]};
    const known = !update.choices || update.choices.some(([, value]) => value === held[at]);
    return 'value' in update || known ? update : {...update, value: update.choices[0][1]};
  });
})""".replace("CACHE", json.dumps(WITH_CACHE))


class Kind(NamedTuple):
    """What of a checkpoint decides which settings its runs have.

    Attributes:
        process: the noise that it reverses.
        can_end: whether it has a token that ends a text.
        caches: what it can keep while a block is filled.
    """

    process: str
    can_end: bool
    caches: CacheKinds = NO_CACHES

    @property
    def key(self) -> str:
        ends = "" if self.can_end else ", endless"
        return self.process + ends + (WITH_CACHE + self.caches.word if self.caches.kinds else "")

    def read_by(self, sampler: Sampler) -> tuple[str, ...]:
        """Names of the settings that change what a sampler does."""
        return settings_of(sampler, self.process, self.can_end, bool(self.caches.kinds))

    def cache_choices(self) -> list[tuple[str, str]]:
        """The caches that it can keep, each with whether it is exact."""
        return [(NONE, NONE), *((f"{name} ({self.caches.word})", name) for name in self.caches.kinds)]


PLAIN_KINDS = tuple(Kind(process, can_end) for process in NOISE for can_end in (True, False))
KINDS = {kind.key: kind for kind in PLAIN_KINDS}
KINDS |= {
    kind.key: kind
    for can_end in (True, False)
    for caches in (BOTH_WAYS, BY_BLOCKS)
    for kind in [Kind("absorbing", can_end, caches)]
}


@dataclass
class Controls:
    """A control for each setting; those that the chosen checkpoint and sampler do not read are not shown.

    Attributes:
        first: the kind of checkpoint that the page opens with, and
        usual: how that is usually run.
        place: what the controls' ids begin with, where a page has them twice.
        inputs: setting -> control.
        about: what the chosen sampler is, and what the seed decides where nothing is drawn.
    """

    first: Kind
    usual: Usual
    place: str = ""
    inputs: dict[str, gr.components.Component] = field(default_factory=dict)
    about: About | None = None
    names: tuple[str, ...] = tuple(SETTINGS)

    @property
    def components(self) -> list[gr.components.Component]:
        """The controls in the order of `names`, which is that of the values that handlers get."""
        return [self.inputs[name] for name in self.names]

    def add(self, *names: str) -> None:
        """Put the controls of these settings here, as the first sampler wants them."""
        for name in names:
            self.inputs[name] = self._made(name, self.usual.sampler)

    @property
    def of_samplers(self) -> tuple[str, ...]:
        """The settings that stand beside what the sampler is: steps and knobs."""
        return tuple(name for name in self.names if name not in (CHOICE, DRAW, *OF_ANY_RUN))

    def add_about(self) -> None:
        """Put the lines here that tell what the sampler is."""
        told = about(self.usual.sampler)
        self.about = About(told, elem_classes=["dd-plain"], elem_id=f"{self.place}about")

    def _made(self, name: str, sampler: Sampler) -> gr.components.Component:
        setting = SETTINGS[name]
        shown = {"value": setting.default, "label": setting.label} | shown_of(name, sampler, self.first)
        choices = shown.pop("choices", None)  # all of them at first: the server knows no others afterwards
        shown |= {"value": self.usual.settings[name]} if name in self.usual.settings else {}
        shown |= {"min_width": 120, "elem_id": self.place + name.replace("_", "-")}
        shown["elem_classes"] = ["dd-setting", f"dd-of-{name.replace('_', '-')}"]
        if name == CHOICE:
            return FreeDropdown(**shown | sampler_choice(self.usual) | {"min_width": 240})
        if name == CACHE:
            return FreeDropdown(**shown | {"choices": choices or [(NONE, NONE)], "min_width": 200})
        if name == DRAW:
            return gr.Radio(**shown | {"choices": list(setting.choices), "min_width": 180})
        if setting.choices:
            return gr.Dropdown(**shown | {"choices": [_spoken(choice) for choice in setting.choices]})
        return gr.Number(**shown, precision=0 if setting.kind is int else None, step=STEPS.get(name))

    def connect(self, chosen: gr.HTML) -> None:
        """Choosing a sampler shows its settings and what it is; any change tells what the seed decides.

        Args:
            chosen: what the page knows of the visitor's checkpoint (`ddemo.ui.chosen.about`).
        """
        others = [name for name in self.names if name not in (CHOICE, CACHE)]  # a cache is the same for all samplers
        controls = [self.inputs[name] for name in others]
        table = {
            kind.key: {sampler.name: _updates(others, sampler, kind) for sampler in of_process(kind.process)}
            for kind in PLAIN_KINDS
        }
        self.inputs[CHOICE].change(
            None,
            [chosen, self.inputs[CHOICE], *controls],
            [*controls, self.about],
            js=f"{SHOW}({json.dumps(table)}, {json.dumps(others)})",
        )
        gr.on(
            [control.change for control in self.components],
            self.about_run,
            [chosen, *self.components],
            self.about,
            queue=False,
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )

    def about_run(self, chosen: str, *values) -> str:
        """What the sampler is and what the seed decides under these settings, once they are in order."""
        kind = KINDS[json.loads(chosen)["kind"]]
        given = self.values(values, kind)
        try:
            config = SamplerConfig.from_values(given)
        except InputError:
            return about(SAMPLERS.get(given[CHOICE]))
        return about(SAMPLERS[config.sampler], about_seed(config, kind.process))

    def values(self, values, kind: Kind, **instead) -> dict[str, Any]:
        """The values that the chosen sampler reads, by name; an emptied field is refused where it is checked."""
        given = dict(zip(self.names, values, strict=True)) | instead
        sampler = SAMPLERS.get(given[CHOICE]) if isinstance(given[CHOICE], str) else None
        read = kind.read_by(sampler) if sampler else (CHOICE,)
        return {name: "" if given[name] is None else given[name] for name in read}

    def switched(self, kind: Kind, usual: Usual, sampler: str = "") -> dict[gr.components.Component, Any]:
        """Updates for another checkpoint, under the sampler that it is usually run with or another of its noise."""
        now = SAMPLERS[sampler] if sampler else usual.sampler
        recommended = usual.values_for(now.name)
        updates = {}
        for name in self.names:
            shown = shown_of(name, now, kind) | ({"value": recommended[name]} if name in recommended else {})
            updates[self.inputs[name]] = gr.update(**shown)
        updates[self.inputs[CHOICE]] = gr.update(**sampler_choice(usual) | {"value": now.name})
        return updates | {self.about: about(now)}


def shown_of(name: str, sampler: Sampler, kind: Kind) -> dict[str, Any]:
    """What a control shows for a sampler: whether it is there, and the sampler's own label, value and choices."""
    update: dict[str, Any] = {"visible": name in kind.read_by(sampler)}
    if not update["visible"] or name == CHOICE:
        return update
    if name == CACHE:
        return update | {"value": NONE, "choices": [list(choice) for choice in kind.cache_choices()]}
    if knob := sampler.knob(name):
        update |= {"label": knob.label, "value": knob.default}
    if SETTINGS[name].choices:
        update["choices"] = [list(_spoken(choice)) for choice in choices_for(name, sampler, kind.process)]
    return update


def sampler_choice(usual: Usual) -> dict[str, Any]:
    """The samplers that a checkpoint can be run with, the usual one chosen."""
    choices = [(item.title, item.name) for item in of_process(usual.process)]
    return {"choices": choices, "value": usual.sampler.name}


def _updates(names: list[str], sampler: Sampler, kind: Kind) -> list[dict[str, Any]]:
    """For the browser: what the controls of these settings and the lines about the sampler show."""
    shown = [*(shown_of(name, sampler, kind) for name in names), {"value": about(sampler)}]
    return [{"__type__": "update", **update} for update in shown]


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
                item = f"[data-noise={process}] .dd-of-sampler li[aria-label={json.dumps(sampler.title)}]"
                rules += [f"{item} {{ margin-top: 30px; }}", f"{item}::before {{ content: {json.dumps(group)}; }}"]
    return "\n".join(rules)


def _spoken(choice: str) -> tuple[str, str]:
    return choice.replace("-", " "), choice
