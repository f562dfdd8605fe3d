"""A world so small that every conditional probability in it is known: the truth that samplers are held against."""

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations

import torch
from torch import Tensor

LARGEST = 20_000_000  # cells of a joint: 160 MB in float64

# The shipped world. A word brings its own space, so a text is its words written one after the other.
WORDS = ("The", " king", " queen", " son", " daughter", " loves", " fears", " his", " her", ".")
SENTENCES = {
    "The queen loves her son.": 0.20,
    "The queen loves her daughter.": 0.08,
    "The queen fears her king.": 0.08,
    "The daughter loves her king.": 0.06,
    "The daughter fears her queen.": 0.06,
    "The king loves his daughter.": 0.15,
    "The king fears his son.": 0.11,
    "The king loves his queen.": 0.04,
    "The son loves his queen.": 0.10,
    "The son fears his king.": 0.12,
}
SPREAD = 0.02


class ExactWorld:
    """A joint distribution over texts of L tokens out of K words, and what follows from it by Bayes.

    A text shorter than L is the beginning of one: the positions that it lacks are summed out. Texts `x_t` are
    [n] or [B, n] int64 with n <= L, and answers [n, K] or [B, n, K] float64, normalised over the last dimension.

    Attributes:
        joint: [K] * L float64, the probability of every text.
        words: how each of the K words is written; () where that does not matter.

    Raises:
        ValueError: the joint is no distribution over equal vocabularies, or too large; or, when asked, the noised
            text is impossible in this world, so that nothing can be said given it.
    """

    def __init__(self, joint: Tensor, words: Sequence[str] = ()):
        if joint.dim() == 0 or len(set(joint.shape)) != 1 or not 0 < joint.numel() <= LARGEST:
            raise ValueError(f"joint must be [K] * L with at most {LARGEST:,} cells, not {list(joint.shape)}")
        joint = joint.to(torch.float64).contiguous()
        total = joint.sum().item()
        if not (joint.min() >= 0 and math.isclose(total, 1.0, abs_tol=1e-9)):
            raise ValueError(f"joint must hold probabilities that sum to 1, not {total}, least {joint.min().item()}")
        if words and len(words) != len(joint):
            raise ValueError(f"words must be the {len(joint)} words of the joint, not {len(words)}")
        self.joint = joint
        self.words = tuple(words)

    @classmethod
    def from_texts(cls, texts: Tensor, weights: Tensor, spread: float, words: Sequence[str]) -> "ExactWorld":
        """A few texts that carry 1 - spread of the probability, the rest spread evenly over all K^L.

        Args:
            texts: [S, L] int64, entries in 0..K-1.
            weights: [S], positive, in any scale.
            spread: in [0, 1].
            words: the K words.

        Raises:
            ValueError: one of them is out of range.
        """
        if texts.dim() != 2 or 0 in texts.shape or texts.dtype != torch.int64:
            raise ValueError(f"texts must be [S, L] int64, not {list(texts.shape)} {texts.dtype}")
        size, length = len(words), texts.shape[1]
        if texts.min() < 0 or texts.max() >= size:
            raise ValueError(f"texts must hold words 0 to {size - 1}, not {texts.min()} to {texts.max()}")
        if size**length > LARGEST:
            raise ValueError(f"K^L must be at most {LARGEST:,}, not {size}^{length}")
        if weights.shape != texts.shape[:1] or not (weights.isfinite().all() and (weights > 0).all()):
            raise ValueError(f"weights must be {len(texts)} positive numbers")
        if not 0.0 <= spread <= 1.0:
            raise ValueError(f"spread must be in [0, 1], not {spread}")
        joint = torch.full((size,) * length, spread / size**length, dtype=torch.float64)
        weights = weights.to(torch.float64)
        joint.index_put_(texts.unbind(1), (1 - spread) * weights / weights.sum(), accumulate=True)
        return cls(joint, words)

    @classmethod
    def sentences(cls) -> "ExactWorld":
        """The world that ddemo ships: ten sentences about four people, K = 10 words, L = 6 positions.

        Who does it (position 1) decides "his" or "her" (position 3) across the verb, and both decide the object.
        Commit those two positions at once, each from its own marginal, and they are drawn as if they had nothing to
        do with each other: " queen" (0.36) beside " his" (0.52). Half of all such texts disagree (2 x 0.52 x 0.48),
        of the world's own hardly any. Every position's likeliest word, taken at once, makes "The queen loves his
        son.", which is no sentence of this world; one position after the other, likeliest first or left to right,
        makes "The queen loves her son.", and never anything else.

        A share of 0.02 is spread over all 10^6 texts, so that every conditional exists.
        """
        index = {word: i for i, word in enumerate(WORDS)}
        texts = torch.tensor([[index[word] for word in split_words(text)] for text in SENTENCES])
        weights = torch.tensor(list(SENTENCES.values()), dtype=torch.float64)
        return cls.from_texts(texts, weights, SPREAD, WORDS)

    @property
    def size(self) -> int:
        """K."""
        return len(self.joint)

    @property
    def length(self) -> int:
        """L."""
        return self.joint.dim()

    def marginal(self, positions: Sequence[int]) -> Tensor:
        """The joint law [K] * len(positions) of some positions, in ascending order; 1 for none."""
        others = [i for i in range(self.length) if i not in positions]
        return self.joint.sum(others) if others else self.joint  # the sum over no dimension would be over all

    # What stood there, given a noised text

    def given(self, x_t: Tensor, mask: Tensor) -> Tensor:
        """Absorbing noise: p(x0_i | x_t). A visible token is certain.

        Args:
            x_t: [..., n]; entries under the mask are not read.
            mask: [..., n] bool, true where the token was absorbed.
        """
        return self.posterior(self.visible_evidence(x_t, mask))

    def given_uniform(self, x_t: Tensor, alpha: float | Tensor) -> Tensor:
        """Uniform noise: p(x0_i | x_t), where each token survived with probability alpha and else became any of the
        K words, itself included.

        Args:
            x_t: [..., n].
            alpha: in [0, 1], one for all, one a row or one a position.
        """
        return self.posterior(self.uniform_evidence(x_t, alpha))

    def leave_one_out_uniform(self, x_t: Tensor, alpha: float | Tensor) -> Tensor:
        """As `given_uniform`, without looking at position i itself: p(x0_i | x_t at all other positions)."""
        return self.leave_one_out(self.uniform_evidence(x_t, alpha))

    def visible_evidence(self, x_t: Tensor, mask: Tensor) -> Tensor:
        """q(x_t,i | x0_i = k) [..., n, K] under absorbing noise, up to a factor: 1 for every word under a mask."""
        return torch.where(mask[..., None], 1.0, self._one_hot(x_t.masked_fill(mask, 0)))

    def uniform_evidence(self, x_t: Tensor, alpha: float | Tensor) -> Tensor:
        """q(x_t,i | x0_i = k) = alpha [x_t,i = k] + (1 - alpha) / K under uniform noise, [..., n, K]."""
        alpha = torch.as_tensor(alpha, dtype=torch.float64)
        if not ((alpha >= 0) & (alpha <= 1)).all():
            raise ValueError(f"alpha must be in [0, 1], not {alpha.tolist()}")
        alpha = alpha[..., None] if alpha.dim() == x_t.dim() else alpha[..., None, None]
        return alpha * self._one_hot(x_t) + (1 - alpha) / self.size

    def _one_hot(self, x_t: Tensor) -> Tensor:
        return torch.eye(self.size, dtype=torch.float64)[x_t]

    def posterior(self, evidence: Tensor) -> Tensor:
        """p(x0_i = k | all evidence) [..., n, K]: `leave_one_out` times the position's own evidence."""
        return _normalised(self.leave_one_out(evidence) * evidence)

    def leave_one_out(self, evidence: Tensor) -> Tensor:
        """p(x0_i = k | evidence at all positions but i) [..., n, K].

        The joint is read twice, however many positions there are: once with the evidence of the left half of the
        positions multiplied in and summed out, once with that of the right half. The halves that remain are small.

        Args:
            evidence: [..., n, K], the likelihood of what is seen at position i if its word was k, in any scale; ones
                where nothing is seen. n <= L.
        """
        *batch, n, size = evidence.shape
        if not 1 <= n <= self.length or size != self.size:
            raise ValueError(f"evidence must be [..., 1 to {self.length}, {self.size}], not {list(evidence.shape)}")
        factors = torch.ones(math.prod(batch), self.length, size, dtype=torch.float64)  # [B, L, K]
        factors[:, :n] = evidence.reshape(len(factors), n, size)
        half = self.length // 2
        left, right = factors[:, :half], factors[:, half:]
        halves = self.joint.reshape(size**half, -1)  # [K^half, K^(L - half)]
        odds = torch.cat([_contract(outer(right) @ halves.T, left), _contract(outer(left) @ halves, right)], 1)
        return _normalised(odds[:, :n]).reshape(*batch, n, size)

    # What parallel commits cost

    def law_in_groups(self, groups: Sequence[Sequence[int]]) -> Tensor:
        """The law [K] * L of texts that are written group by group, a group's tokens drawn independently.

        Each token is drawn from its true conditional given the groups before: law(x) = prod over groups g, and over i
        in g, of p(x_i | x in the groups before g). That is what a sampler does that commits several masks in one
        step, and the only thing that it does wrong.

        Args:
            groups: every position 0..L-1 once, in the order of writing.
        """
        law = torch.ones_like(self.joint)
        for before, group in self._growing(groups):
            known = self._broadcast(before)
            for i in group:
                together = self._broadcast([*before, i])
                law = law * torch.where(known > 0, together / known, 0.0)
        return law

    def parallel_cost(self, groups: Sequence[Sequence[int]]) -> float:
        """KL(joint || law_in_groups) in nats: the summed conditional total correlations of the groups.

        By the chain rule the joint is the product over groups of p(group | before), and the law differs from it only
        in replacing that by the product of p(x_i | before). The expected log ratio is the group's total correlation
        (Watanabe 1960) given what was there: sum over i of H(x_i | before) - H(group | before).
        """
        cost = 0.0
        for before, group in self._growing(groups):
            known = self.entropy(before)
            cost += sum(self.entropy([*before, i]) - known for i in group) - (self.entropy([*before, *group]) - known)
        return cost

    def average_parallel_cost(self, sizes: Sequence[int]) -> float:
        """The mean of `parallel_cost` over all orders of positions, cut into groups of these sizes.

        Costs are sums of entropies of sets of positions, and over all orders each set of a size is met equally often,
        so the mean needs only the mean entropy of the sets of each size.

        Raises:
            ValueError: sizes are not positive numbers that sum to L.
        """
        if any(size < 1 for size in sizes) or sum(sizes) != self.length:
            raise ValueError(f"sizes must be positive and sum to {self.length}, not {list(sizes)}")
        mean, cost, k = self._mean_entropies, 0.0, 0
        for size in sizes:
            cost += size * (mean[k + 1] - mean[k]) - (mean[k + size] - mean[k])
            k += size
        return cost

    def entropy(self, positions: Sequence[int] | None = None) -> float:
        """Nats of the joint law of these positions; of the whole text by default."""
        law = self.joint if positions is None else self.marginal(positions)
        return -torch.xlogy(law, law).sum().item()

    @cached_property
    def _mean_entropies(self) -> list[float]:
        """Mean entropy of the sets of 0, 1, ... L positions."""
        every = range(self.length)
        sets = [list(combinations(every, count)) for count in range(self.length + 1)]
        return [sum(self.entropy(some) for some in group) / len(group) for group in sets]

    def _broadcast(self, positions: Sequence[int]) -> Tensor:
        """The marginal with one cell in place of every other position."""
        shape = [self.size if i in positions else 1 for i in range(self.length)]
        return self.marginal(positions).reshape(shape)

    def _growing(self, groups: Sequence[Sequence[int]]) -> list[tuple[list[int], list[int]]]:
        """Each group with the positions written before it."""
        steps, before = [], []
        for group in groups:
            steps.append((before, list(group)))
            before = [*before, *group]
        if sorted(before) != list(range(self.length)):
            raise ValueError(f"groups must hold each of the positions 0 to {self.length - 1} once, not {groups}")
        return steps


def split_words(text: str, words: Sequence[str] = WORDS) -> list[str]:
    """Cut a text into words of a vocabulary in which none begins another.

    Raises:
        ValueError: the text goes on with something else.
    """
    found = []
    while text:
        word = next((word for word in words if text.startswith(word)), None)
        if word is None:
            raise ValueError(f"text must be made of {', '.join(map(repr, words))}, and has {text[:40]!r}")
        found.append(word)
        text = text[len(word) :]
    return found


def outer(factors: Tensor) -> Tensor:
    """[B, m, K] -> the products [B, K^m] of one entry from each of the m rows."""
    product = torch.ones(len(factors), 1, dtype=factors.dtype)
    for factor in factors.unbind(1):
        product = (product[:, :, None] * factor[:, None, :]).flatten(1)
    return product


def _contract(odds: Tensor, factors: Tensor) -> Tensor:
    """[B, K^m] and [B, m, K] -> [B, m, K]: at i, the odds times every factor but i's, summed over all but i."""
    count, size = factors.shape[1:]
    if count <= 1:
        return odds[:, None] if count else factors
    half = count // 2
    left, right = factors[:, :half], factors[:, half:]
    halves = odds.unflatten(1, (size**half, size ** (count - half)))
    over_right = (halves @ outer(right)[:, :, None]).squeeze(2)
    over_left = (outer(left)[:, None, :] @ halves).squeeze(1)
    return torch.cat([_contract(over_right, left), _contract(over_left, right)], 1)


def _normalised(odds: Tensor) -> Tensor:
    total = odds.sum(-1, keepdim=True)
    if not (total > 0).all():
        raise ValueError("x_t must be a text that this world can turn into; this one has probability 0")
    return odds / total
