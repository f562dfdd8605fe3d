"""Every setting of a run, described once: page, API and command line are built from these descriptions."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ddemo.denoisers.caches import CACHES
from ddemo.errors import InputError
from ddemo.sampling import SAMPLERS, Sampler, SamplerConfig, check_process
from ddemo.sampling.config import DRAWS, ENDS, kind_of
from ddemo.sampling.samplers import KNOBS, Knob, of_process
from ddemo.sampling.samplers.definition import BY_CLOCK

SHARED = {  # settings that most samplers read: label, what it means
    "sampler": ("Sampler", "how noise is turned into text"),
    "draw": ("Draw", "how a token is taken from the model's belief: sample, or argmax for the likeliest"),
    "temperature": ("Temperature", "divides the logits before a draw; 0 is argmax"),
    "top_k": ("Top-k", "draw among the k likeliest tokens; 0 is off"),
    "top_p": ("Top-p", "draw among the likeliest tokens that reach this probability; 1 is off"),
    "steps": ("Steps", "reverse steps, where the canvas does not decide how many there are"),
    "seed": ("Seed", "the run's whole randomness: same seed, same run"),
    "block_length": ("Block length", "masks filled together before the next block, left to right; 0 is one block"),
    "guidance": ("Guidance", "w of classifier-free guidance by the prompt; 0 is off"),
    "end_of_text": ("End of text", "whether it may be drawn: allow, suppress, late (after all else), stop (end it)"),
    "cache": (
        "Cache by blocks",
        "what is kept while a block is filled, so that its steps cost less: none, prefix (what stands before it), "
        "dual (and after it); exact for block diffusion, approximate for other decoders, and not there for the rest",
    ),
}
CHOICES = {"sampler": tuple(SAMPLERS), "draw": DRAWS, "end_of_text": ENDS, "cache": tuple(CACHES)}
OF_THE_CHECKPOINT = {  # defaults that depend on it, for the command line
    "sampler": "the first for the checkpoint's noise",
    "block_length": "0, or the length that block diffusion was trained with",
}
OF_THE_VIEW = ("candidates",)  # how much a frame keeps for who looks at it: says nothing about what is written


@dataclass(frozen=True)
class Setting:
    """A field of `SamplerConfig`, for people.

    Attributes:
        name: the field's.
        kind: int, float or str.
        default: None where each sampler has its own.
        label, sentence: what it is called and what it means.
        choices: what a word may be, over all samplers; empty for a number.
        readers: the samplers that have it as a knob; empty for a setting of most of them.
    """

    name: str
    kind: type
    default: Any
    label: str
    sentence: str
    choices: tuple[str, ...] = ()
    readers: tuple[Sampler, ...] = ()

    @property
    def help(self) -> str:
        """Its meaning and its default, in one line; what a checkpoint recommends comes before the default."""
        return f"{self.sentence} (default: {self._default}, where the checkpoint recommends none)"

    @property
    def _default(self) -> str:
        if not self.readers:
            return str(OF_THE_CHECKPOINT.get(self.name, self.default))
        found = {sampler.name: sampler.knob(self.name).default for sampler in self.readers}
        if len(set(found.values())) == 1:
            return f"{next(iter(found.values()))} for {', '.join(found)}"
        return ", ".join(f"{default} for {name}" for name, default in found.items())


def _setting(field) -> Setting:
    kind = kind_of(field.type)
    if field.name not in KNOBS:
        label, sentence = SHARED[field.name]
        default = None if field.name == "sampler" else field.default
        return Setting(field.name, kind, default, label, sentence, CHOICES.get(field.name, ()))
    readers = tuple(sampler for sampler in SAMPLERS.values() if sampler.knob(field.name))
    knobs = [sampler.knob(field.name) for sampler in readers]
    choices = tuple(dict.fromkeys(choice for knob in knobs for choice in knob.choices))
    return Setting(field.name, kind, None, knobs[0].label, _sentence(field.name, readers), choices, readers)


def _sentence(name: str, readers: tuple[Sampler, ...]) -> str:
    """What a knob means; where it means something else under some samplers, that too, with their names."""
    told: dict[str, list[str]] = {}
    for sampler in readers:
        told.setdefault(sampler.knob(name).sentence, []).append(sampler.name)
    first, *others = told
    return ". ".join([first, *(f"Under {', '.join(told[other])}: {other}" for other in others)])


SETTINGS = {field.name: _setting(field) for field in fields(SamplerConfig) if field.name not in OF_THE_VIEW}


def default_sampler(process: str) -> Sampler:
    """The first sampler in the table that is for this noise alone."""
    return next(sampler for sampler in of_process(process) if sampler.processes == (process,))


@dataclass(frozen=True)
class Usual:
    """How a checkpoint is run where nothing else is said.

    Attributes:
        process: the noise that it reverses.
        settings: its sampler and the settings that are recommended with that; others have the sampler's defaults.
    """

    process: str
    settings: dict[str, Any]

    @classmethod
    def of(cls, process: str, recommended: Mapping[str, Any] | None = None) -> "Usual":
        """What a checkpoint recommends, or the usual sampler of its noise.

        Args:
            recommended: from its files, which are not trusted.

        Raises:
            InputError: it recommends what cannot be.
        """
        settings = {"sampler": default_sampler(process).name} | dict(recommended or {})
        check_process(SamplerConfig.from_values(settings), process, "the checkpoint")
        return cls(process, settings)

    @property
    def sampler(self) -> Sampler:
        return SAMPLERS[self.settings["sampler"]]

    def values_for(self, sampler: object) -> dict[str, Any]:
        """The recommended settings for the sampler of that name: another has its own defaults for its own knobs."""
        if sampler == self.settings["sampler"] or not isinstance(sampler, str) or sampler not in SAMPLERS:
            return self.settings
        read = set(settings_of(SAMPLERS[sampler], self.process)) - set(KNOBS) - {"sampler"}
        return {name: value for name, value in self.settings.items() if name in read}

    def fill(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What was given, and the recommended settings in place of what was not (None)."""
        said = {name: value for name, value in given.items() if value is not None}
        return self.values_for(said.get("sampler", self.settings["sampler"])) | said


def settings_of(sampler: Sampler, process: str, can_end: bool = True, can_cache: bool = True) -> tuple[str, ...]:
    """Names of the settings that change what a sampler does under a noise process, in the order of the fields.

    Args:
        can_end: whether the checkpoint has a token that ends a text.
        can_cache: whether its denoiser can keep keys and values.
    """
    read = {"sampler", "seed", *sampler.defaults()}
    read |= {"steps"} if sampler.paced == BY_CLOCK else set()
    read |= set() if sampler.greedy else {"temperature", "top_k", "top_p"}
    read |= {"draw"} if sampler.draws and not sampler.greedy else set()
    read |= {"block_length", "guidance"} if process == "absorbing" else set()
    read |= {"end_of_text"} if can_end else set()
    read |= {"cache"} if can_cache and process == "absorbing" else set()
    return tuple(name for name in SETTINGS if name in read)


def choices_for(name: str, sampler: Sampler, process: str) -> tuple[str, ...]:
    """What a word may be for this sampler under a noise process."""
    return tuple(choice for choice in SETTINGS[name].choices if _is_accepted({name: choice}, sampler, process))


def _is_accepted(settings: dict[str, Any], sampler: Sampler, process: str) -> bool:
    try:
        check_process(SamplerConfig(**{"sampler": sampler.name} | settings), process, "it")
    except InputError:
        return False
    return True


def about_seed(config: SamplerConfig, process: str) -> str:
    """What the seed still decides where nothing is drawn; "" for a run that draws its tokens.

    The three "deterministic" steps keep their own words: an argmax draw inside a sampler, and the two samplers that
    are greedy by definition, under their own titles.
    """
    sampler = SAMPLERS[config.sampler]
    if process == "gaussian":
        drawn_once = config.eta == 0.0
        return f"{sampler.title}: the seed only decides the noise that the run begins with." if drawn_once else ""
    if not config.greedy:
        return ""
    step = sampler.title if sampler.greedy else "Argmax draw"
    if config.deterministic and process == "uniform":
        return f"{step}: the seed only decides the random words that the run begins with."
    if config.deterministic:
        return f"{step}: deterministic, the seed does not matter."
    if process == "uniform":
        return f"{step}: the text it aims at is not drawn, but what changes at a step is still random."
    return f"{step}: tokens are not drawn, but the order in which they appear is still random."


def describe(sampler: Sampler) -> dict[str, Any]:
    """A sampler's definition as plain values."""
    return {
        "name": sampler.name,
        "title": sampler.title,
        "group": sampler.group,
        "sentence": sampler.sentence,
        "source": sampler.source,
        "processes": list(sampler.processes),
        "knobs": [_describe_knob(knob, sampler) for knob in sampler.knobs],
    }


def _describe_knob(knob: Knob, sampler: Sampler) -> dict[str, Any]:
    allowed: dict[str, Any] = {"low": knob.low, "high": knob.high}
    if knob.choices:
        allowed = {"choices": list(choices_for(knob.name, sampler, sampler.processes[0]))}
    return {"name": knob.name, "default": knob.default, "sentence": knob.sentence} | allowed
