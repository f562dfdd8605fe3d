"""The questions that lanes side by side can answer, and the settings of the lanes that answer each."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ddemo.errors import InputError
from ddemo.sampling import SAMPLERS, SamplerConfig, check_process
from ddemo.sampling.config import MAX_SEED, quoted
from ddemo.sampling.samplers import of_process
from ddemo.sampling.samplers.definition import BY_CLOCK
from ddemo.settings import Usual, default_sampler, settings_of

MOST_LANES = 16
TEMPERATURES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
LIKELIEST = "the likeliest word alone"  # what an argmax leaves where no token is drawn
STEPS = (4, 8, 16, 32, 64, 128)
NO_OTHERS: Mapping[str, Usual] = {}
NOISE = {"absorbing": "masks", "uniform": "random words", "gaussian": "latents"}  # what text comes out of
SIDE_BY_SIDE = {  # of each noise: samplers that differ in what drives their steps
    "absorbing": ("confidence", "ancestral", "first-hitting", "entropy-bounded", "threshold", "p2", "remdm-cap"),
    "gaussian": ("ddpm", "ddim"),
    "uniform": ("uniform-ancestral", "uniform-joint", "sedd-analytic", "tau-leaping", "flow"),
}


@dataclass(frozen=True)
class LanePlan:
    """What a lane is going to be.

    Attributes:
        label: what tells it from the others.
        about: in a few words each: sampler, draw, steps, seed.
        group: the heading under which its measures are taken together; "" for a lane of its own.
        config: its settings; None where they make no sense, and then
        problem: says why, in one sentence.
        checkpoint: the id of another one than the question is put to; "" for that one.
    """

    label: str
    about: tuple[str, ...] = ()
    group: str = ""
    config: SamplerConfig | None = None
    problem: str = ""
    checkpoint: str = ""


@dataclass(frozen=True)
class Asked:
    """Whom a question is put to.

    Attributes:
        process: the checkpoint's noise.
        most: how many lanes at most.
        companions: by id, how the checkpoints are usually run that share its tokens, itself the first; empty where
            unknown.
    """

    process: str
    most: int
    companions: Mapping[str, Usual]


@dataclass(frozen=True)
class Question:
    """Something that lanes side by side show.

    Attributes:
        name: what the command line calls it.
        title: what people read.
        sentence: what the lanes are.
        lanes: (settings, what is asked) -> (label, group, settings) of each lane, and the checkpoint of one that is
            another's.
        usual: how many lanes it has unless others are asked for.
        processes: the noises under which it makes sense.
        across: whether it is put to all checkpoints that share the tokens.
    """

    name: str
    title: str
    sentence: str
    lanes: Callable[[dict[str, Any], Asked], Iterator[tuple]]
    usual: int
    processes: tuple[str, ...] = ("absorbing", "uniform", "gaussian")
    across: bool = False

    def plans(
        self,
        settings: Mapping[str, Any],
        process: str,
        most: int | None = None,
        companions: Mapping[str, Usual] = NO_OTHERS,
    ) -> list[LanePlan]:
        """The lanes.

        Args:
            settings: of the run that the question is about, by the names of `SamplerConfig`; untrusted.
            process: the checkpoint's noise.
            most: how many lanes at most; the usual number by default.
            companions: by id, how the checkpoints are usually run that share its tokens, itself the first.

        Raises:
            InputError: settings that no lane can have, or a number of lanes out of range.
        """
        most = self.usual if most is None else most
        if type(most) is not int or not 1 <= most <= MOST_LANES:
            raise InputError(
                f"The number of lanes must be a whole number from 1 to {MOST_LANES}, not {quoted(most)}."
            )
        base = dict(settings)
        if base.get("sampler") is None:
            base["sampler"] = default_sampler(process).name
        check_process(SamplerConfig.from_values(base), process, "the checkpoint")
        asked = Asked(process, most, companions)
        return [_plan(asked, *lane) for lane in islice(self.lanes(base, asked), most)]


def _plan(asked: Asked, label: str, group: str, settings: dict[str, Any], checkpoint: str = "") -> LanePlan:
    """A lane whose settings make no sense says so, and leaves the others alone."""
    process = asked.companions[checkpoint].process if checkpoint else asked.process
    try:
        config = SamplerConfig.from_values(settings)
        check_process(config, process, "the checkpoint")
    except InputError as problem:
        return LanePlan(label, group=group, problem=str(problem), checkpoint=checkpoint)
    return LanePlan(label, about(config, process), group, config, checkpoint=checkpoint)


def about(config: SamplerConfig, process: str) -> tuple[str, ...]:
    """A lane in a few words: sampler, draw, steps, seed."""
    sampler = SAMPLERS[config.sampler]
    told = [sampler.title]
    if not sampler.greedy:
        argmax = "argmax draw" if sampler.draws else LIKELIEST
        told.append(argmax if config.greedy else f"temperature {config.temperature:g}")
    if sampler.paced == BY_CLOCK:
        told.append(f"{config.steps} steps")
    told.append("the seed does not matter" if _seedless(config, process) else f"seed {config.seed}")
    return tuple(told)


def _seedless(config: SamplerConfig, process: str) -> bool:
    return config.deterministic and process == "absorbing"


def questions_for(process: str) -> dict[str, Question]:
    """The questions that make sense under a noise process, by name."""
    return {name: question for name, question in QUESTIONS.items() if process in question.processes}


# ---------------------------------------------------------------- the lanes of each question


def _argmax(base, asked):
    """Argmax first, then samples; the seed of the run is the first sample's."""
    yield _name_of_argmax(base, asked.process), "argmax", base | {"draw": "argmax"}
    yield from _samples(_drawing(base, asked.process), asked.most - 1)


def _name_of_argmax(base: dict[str, Any], process: str) -> str:
    """An argmax draw alone does not make a run deterministic: the name says where chance still has a part."""
    config = SamplerConfig.from_values(base | {"draw": "argmax"})
    if _seedless(config, process):
        return "argmax"
    if not SAMPLERS[config.sampler].draws:
        return LIKELIEST
    return "argmax draw, random order" if process == "absorbing" else "argmax draw"


def _seeds(base, asked):
    yield from _samples(base, asked.most)


def _samples(base, most):
    first = SamplerConfig.from_values(base).seed
    for number in range(most):
        seed = (first + number) % (MAX_SEED + 1)
        yield f"sample, seed {seed}", "samples", base | {"seed": seed}


def _argmaxes(base, asked):
    """What "deterministic" may mean, each under its own name, and a sample beside them."""
    ordered = base if SAMPLERS[base["sampler"]].ordered else under(base, "confidence", asked.process)
    yield "argmax, surest first", "", ordered | {"draw": "argmax"}
    yield "argmax draw, random order", "", under(base, "ancestral", asked.process) | {"draw": "argmax"}
    yield "literal argmax of the posterior", "", under(base, "posterior-argmax", asked.process)
    yield "plug-in posterior", "", under(base, "plug-in", asked.process)
    yield from _samples(_drawing(base, asked.process), 1)


def _temperatures(base, asked):
    """One seed for all, so that they draw from the same random numbers."""
    base = _drawing(base, asked.process)
    for temperature in TEMPERATURES:
        label = "argmax" if temperature == 0 and SAMPLERS[base["sampler"]].draws else f"temperature {temperature:g}"
        yield label, "", base | {"temperature": temperature, "draw": "sample"}


def _samplers(base, asked):
    names = dict.fromkeys((base["sampler"], *SIDE_BY_SIDE[asked.process]))
    for name in names:
        yield SAMPLERS[name].title, "", under(base, name, asked.process)


def _clamps(base, asked):
    for name in ("ddpm", "ddim"):
        for clamp, aim in (("off", "towards a mean"), ("nearest", "towards a word")):
            yield f"{SAMPLERS[name].title}, {aim}", "", under(base, name, asked.process) | {"clamp": clamp}


def _steps(base, asked):
    if SAMPLERS[base["sampler"]].paced != BY_CLOCK:
        raise InputError(
            f"{SAMPLERS[base['sampler']].title} takes as many steps as the text needs, so there are no numbers of "
            "steps to compare: choose another sampler."
        )
    for steps in STEPS:
        yield f"{steps} steps", "", base | {"steps": steps}


def _noises(base, asked):
    """The checkpoints of another noise as they are usually run."""
    if len(asked.companions) < 2:
        raise InputError("No other checkpoint here has the same tokens, so there is nothing to compare it with.")
    for checkpoint, usual in asked.companions.items():
        settings, noise = base, usual.process
        if noise != asked.process:
            settings = under(base, usual.sampler.name, noise) | usual.settings
        yield f"{checkpoint}, out of {NOISE[noise]}", "", settings, checkpoint


def _drawing(base: dict[str, Any], process: str) -> dict[str, Any]:
    """The same settings as a run that draws its tokens.

    Raises:
        InputError: the sampler never draws.
    """
    sampler = SAMPLERS[base["sampler"]]
    if sampler.greedy:
        raise InputError(f"{sampler.title} never draws a token: choose another sampler to compare it with.")
    drawn = base | {"draw": "sample"}
    config = SamplerConfig.from_values(drawn)
    return (
        drawn
        | ({"temperature": 1.0} if config.temperature == 0 else {})
        | ({"top_k": 0} if config.top_k == 1 else {})
    )


def under(base: dict[str, Any], sampler: str, process: str) -> dict[str, Any]:
    """The settings that all samplers share, under another sampler with its own published defaults for the rest."""
    if sampler == base["sampler"]:
        return base
    own = {knob.name for item in of_process(process) for knob in item.knobs}
    read = set(settings_of(SAMPLERS[sampler], process)) - own
    return {name: value for name, value in base.items() if name in read} | {"sampler": sampler}


QUESTIONS = {
    question.name: question
    for question in (
        Question("argmax", "Argmax or sampling?", "One argmax run, and samples with a seed each.", _argmax, 5),
        Question(
            "argmaxes",
            "What does deterministic mean?",
            "The three steps that are called so, argmax in random order, and a sample.",
            _argmaxes,
            5,
            ("absorbing",),
        ),
        Question(
            "temperature",
            "What does temperature do?",
            "The same random numbers at seven temperatures, from argmax up.",
            _temperatures,
            len(TEMPERATURES),
        ),
        Question("samplers", "Which sampler?", "The same settings under several samplers.", _samplers, 7),
        Question(
            "clamp",
            "What does clamping do?",
            "Latents that move towards a mean of words, or the word nearest to it, with and without new noise.",
            _clamps,
            4,
            ("gaussian",),
        ),
        Question("steps", "How many steps?", "The same seed in 4 to 128 steps.", _steps, len(STEPS)),
        Question(
            "noises",
            "Which noise?",
            "The same text under each checkpoint that has the same tokens, as it is usually run.",
            _noises,
            5,
            across=True,
        ),
        Question("seeds", "How much is chance?", "Samples that differ in their seed only.", _seeds, 5),
    )
}
