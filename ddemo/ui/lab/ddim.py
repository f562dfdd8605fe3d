"""Why not DDIM: what lies between two tokens in the checkpoint's embeddings, beside the discrete process."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ddemo.denoisers import Denoiser, TextCodec
from ddemo.errors import InputError
from ddemo.figures.look import PAGE
from ddemo.figures.noise.between import distance_figure, masses_figure
from ddemo.figures.spelling import spelled
from ddemo.figures.tables import csv_text
from ddemo.processes import LINEAR, gaussian
from ddemo.sampling.config import quoted
from ddemo.sampling.randomness import normals, uniforms
from ddemo.ui.lab.forward import drawable, spaced
from ddemo.ui.lab.noised_text import Group, Row, noised_texts
from ddemo.ui.lab.settings import Choice, Range, Written
from ddemo.ui.lab.view import Part, Update, View, Work
from ddemo.ui.number_table import table
from ddemo.ui.plot_view import figure_message
from ddemo.ui.resident import Resident

WORDS = r"""
DDIM goes back without a draw: it keeps the noise that must be in $x_t$ if the prediction $\hat x_0$ is right, and
turns it down. Pictures allow it, for every point on the way is a picture. Take token $A$ for what DDIM finds as noise
and token $B$ for what it predicts, and its points are mixes of two embeddings:

$$x_s = \sqrt{\bar\alpha_s}\; e_B + \sqrt{1 - \bar\alpha_s}\; e_A$$

Between two tokens there is no third that is a little of both. The points lie away from every token, and to write one
down the way is cut off into a jump all the same, at a place that the geometry of the embeddings decides and no
probability. The discrete process has nothing between the two either, and needs nothing: it moves *probability* from
one token to the other, and a draw is always one of them,

$$p_s = \alpha_s\,\delta_B + (1 - \alpha_s)\,\delta_A, \qquad
p(A \to B \text{ from } t \text{ to } s) = \frac{\alpha_s - \alpha_t}{1 - \alpha_t}$$

Sources: [Song et al. 2021](https://arxiv.org/abs/2010.02502), DDIM, equation 12;
[Gat et al. 2024](https://arxiv.org/abs/2407.15595), discrete flow matching, whose mixture of two tokens this is.
[Diffusion-LM](https://arxiv.org/abs/2205.14217) does go through embeddings, which it learns for that, and rounds.
"""
STARTS = {"word": "the other word's embedding", "noise": "Gaussian noise"}
SHARES = [k / 40 for k in range(41)]
WRITTEN = SHARES[::4]  # those in the table and in the texts
ROWS = 16_384  # of the table that are searched at once
DRAWS = 3


@dataclass(frozen=True)
class Way:
    """DDIM's way to one token.

    Attributes:
        points: [P, D] float32, x_s at shares of signal.
        ends: the two tokens, A and B.
        distances: [P, 2] float32, from each point to A and to B.
        others: [P] int64, the nearest token that is neither.
        other_distances: [P].
    """

    points: Tensor
    ends: tuple[int, int]
    distances: Tensor
    others: Tensor
    other_distances: Tensor

    def nearest(self, at: int) -> tuple[int, float]:
        """The nearest token of all to a point, and its distance."""
        near = [*zip(self.ends, self.distances[at].tolist(), strict=True)]
        return min([*near, (int(self.others[at]), float(self.other_distances[at]))], key=lambda pair: pair[1])


def way_between(
    embeddings: Tensor, words: Tensor, ends: tuple[int, int], shares: list[float], noise: Tensor | None = None
) -> Way:
    """The way from A, or from noise, to B.

    Args:
        embeddings: [V, D].
        words: [V] bool, the tokens that count as near.
        shares: of signal, alpha_bar, in [0, 1].
        noise: [D] standard normal; it is made as long as tokens are in the mean square.
    """
    first, last = embeddings[list(ends)].float().cpu()
    start = first if noise is None else noise.float() * scale_of(embeddings, words)
    points = torch.stack([gaussian.noised(last, share, start) for share in shares])
    distances = torch.stack([(points - end).norm(dim=-1) for end in (first, last)], -1)
    meant = words.clone()
    meant[list(ends)] = False
    return Way(points, ends, distances, *nearest_rows(points, embeddings, meant))


def scale_of(embeddings: Tensor, words: Tensor) -> float:
    """The root mean square of the words' coordinates."""
    squares = [rows.float()[words[at].to(rows.device)].square().sum() for at, rows in _in_parts(embeddings)]
    return float(sum(map(float, squares)) / (int(words.sum()) * embeddings.shape[1])) ** 0.5


def nearest_rows(points: Tensor, embeddings: Tensor, meant: Tensor) -> tuple[Tensor, Tensor]:
    """Of the rows that are meant, the nearest to each point [P, D]: its number [P] int64 and distance [P].

    The table is read in parts, so that a large one needs no second copy in float32.
    """
    best, near = torch.zeros(len(points), dtype=torch.int64), torch.full((len(points),), torch.inf)
    for at, rows in _in_parts(embeddings):
        found, distances = gaussian.nearest(points.to(rows.device), rows.float(), ~meant[at].to(rows.device))
        found, closest = found.cpu() + at.start, distances[:, 0].cpu()
        best, near = torch.where(closest < near, found, best), torch.minimum(closest, near)
    return best, near


def _in_parts(embeddings: Tensor) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(embeddings), ROWS):
        at = slice(start, start + ROWS)
        yield at, embeddings[at]


def token_of(word: str, codec: TextCodec) -> int:
    """The one token that a word is, with a space before it or without; raises InputError where it is none."""
    text = word.strip()
    if not text:
        raise InputError("Write two words to go between.")
    for written in (f" {text}", text):
        ids, _ = codec.encode(written)
        if len(ids) == 1 and drawable(codec)[ids[0]]:
            return ids[0]
    raise InputError(f"{quoted(text)} is no single token of this checkpoint: choose a shorter or more common word.")


def embeddings_of(denoiser: Denoiser) -> Tensor:
    """[V, D]; raises InputError for a checkpoint that has none."""
    if not hasattr(denoiser, "token_embeddings"):
        raise InputError(f"{denoiser.id} is a table of probabilities and has no embeddings to go through.")
    return denoiser.token_embeddings()


def answer(values: Mapping[str, Any], resident: Resident) -> dict[str, Any]:
    """The way, once the weights are there; raises InputError while they are not."""
    embeddings = embeddings_of(resident.get().denoiser) if resident.loaded else None
    tokens = tuple(token_of(values[name], resident.codec) for name in ("first", "last"))
    if tokens[0] == tokens[1]:
        raise InputError("Both words are the same token: choose two.")
    if embeddings is None:
        raise InputError(
            f"The weights of {resident.id} are not there yet: press {VIEW.work.title}, which waits for them."
        )
    words = drawable(resident.codec)[: len(embeddings)]
    noise = None
    if values["start"] == "noise":
        noise = normals(values["seed"], 0, 0, "noise", 1, embeddings.shape[1])[0]
    way = way_between(embeddings, words, tokens, [*SHARES, values["alpha"]], noise)
    return shown(way, values, resident.codec)


def carry_out(values: Mapping[str, Any], resident: Resident, stopped: Callable[[], bool]) -> Iterator[Update]:
    """Wait for the weights, then answer."""
    resident.await_weights(stopped)
    resident.get()  # which says why it could not be loaded
    yield Update("", answer(values, resident))


def shown(way: Way, values: Mapping[str, Any], codec: TextCodec) -> dict[str, Any]:
    """Texts, figures and numbers; the last point of the way is the chosen one."""
    alpha = values["alpha"]
    ends = names_of(way.ends, codec)
    names = [*(f"to {end}" for end in ends), "to the nearest other"]
    columns = [*way.distances.T.tolist(), way.other_distances.tolist()]
    others = [name_of(token, codec) for token in way.others.tolist()]
    here = {name: column[-1] for name, column in zip(names, columns, strict=True)}
    token, distance = way.nearest(len(SHARES))
    said = f"Nearest at a signal share of {alpha:g}: {name_of(token, codec)}, {distance:.3f} away."
    masses = [[LINEAR.noised(1.0 - share), LINEAR.alpha(1.0 - share)] for share in SHARES]
    law = dict(zip(ends, (LINEAR.noised(1.0 - alpha), LINEAR.alpha(1.0 - alpha)), strict=True))
    curves = dict(zip(ends, zip(*masses, strict=True), strict=True))
    return {
        "texts": noised_texts(_texts(way, values["seed"], codec)),
        "distances": figure_message(
            distance_figure(
                SHARES, dict(zip(names, (c[:-1] for c in columns), strict=True)), others[:-1], alpha, here, PAGE
            ),
            "ddim-distances",
            said,
            csv_text(["share", *names, "other"], zip(SHARES, *(c[:-1] for c in columns), others[:-1], strict=True)),
        ),
        "masses": figure_message(
            masses_figure(SHARES, curves, alpha, law, PAGE),
            "discrete-masses",
            ", ".join(f"{name} {p:.3f}" for name, p in law.items()),
            csv_text(["alpha", *ends], [[share, *pair] for share, pair in zip(SHARES, masses, strict=True)]),
        ),
        "numbers": _numbers(way, alpha, codec),
    }


def name_of(token: int, codec: TextCodec) -> str:
    return spelled(codec.piece(token)).strip("·") or spelled(codec.piece(token))


def names_of(ends: tuple[int, int], codec: TextCodec) -> list[str]:
    """Of both, with their spaces where they differ in nothing else."""
    names = [name_of(token, codec) for token in ends]
    return names if len(set(names)) == 2 else [spelled(codec.piece(token)) for token in ends]


def _texts(way: Way, seed: int, codec: TextCodec) -> list[Group]:
    def cell(token: int) -> tuple[str, str]:
        text = spaced(codec.piece(token))
        return (text if text.startswith(" ") else f" {text}"), "kept" if token in way.ends else "word"

    passed = [cell(way.nearest(SHARES.index(share))[0]) for share in WRITTEN]
    drawn = []
    for number in range(DRAWS):
        turn = float(uniforms(seed, number, 0, "draw", 1)[0])
        row = [cell(way.ends[LINEAR.alpha(1.0 - share) > turn]) for share in WRITTEN]
        drawn.append(Row(f"draw {number + 1}", row))
    ticks = f"signal share {WRITTEN[0]:g}, {WRITTEN[1]:g}, ... {WRITTEN[-1]:g}"
    return [
        Group("DDIM: the nearest token along the way", [Row(ticks, passed)], "Wavy: neither of the two words."),
        Group("Discrete: what is drawn along the way", drawn, "Each turns once, at a moment of its own."),
    ]


def _numbers(way: Way, alpha: float, codec: TextCodec) -> str:
    first, last = names_of(way.ends, codec)
    rows = []
    here = len(SHARES)  # the chosen point comes last
    for at, share in [*((SHARES.index(share), share) for share in WRITTEN), (here, alpha)]:
        token, distance = way.nearest(at)
        numbers = [distance, *way.distances[at].tolist(), float(way.other_distances[at])]
        cells = [f"{number:.3f}" for number in numbers]
        other = name_of(int(way.others[at]), codec)
        mass = [f"{LINEAR.noised(1.0 - share):.3f}", f"{LINEAR.alpha(1.0 - share):.3f}"]
        name = f"{share:g}, chosen" if at == here else f"{share:g}"
        rows.append([name, name_of(token, codec), *cells[:3], other, cells[3], *mass])
    columns = ["share", "nearest", "distance", f"to {first}", f"to {last}", "nearest other", "distance"]
    columns += [f"p({first})", f"p({last})"]
    middle = (way.points[SHARES.index(0.5)].norm() / way.points[SHARES.index(1.0)].norm()).item()
    said = [f"The middle of the way is {middle:.2f} times as long a vector as {last}."]
    return table("Along the way", columns, rows, said)


VIEW = View(
    "ddim",
    "Why not DDIM",
    WORDS,
    (
        Written("first", "Word A, that stands", "sea", "One token.", lines=1),
        Written("last", "Word B, that is predicted", "letter", "One token.", lines=1),
        Range("alpha", "Share of signal", 0.0, 1.0, 0.025, 0.5),
        Choice("start", "Where DDIM starts", STARTS, "word", folded=True),
        Range("seed", "Seed", 0, 99, 1, 0),
    ),
    (
        Part("texts", "texts"),
        Part("distances", "plot", wide=False),
        Part("masses", "plot", wide=False),
        Part("numbers", "numbers"),
    ),
    answer,
    of_checkpoint=True,
    work=Work("Interpolate", carry_out),
)
