"""The weights of a blend: those that make the validation targets most likely."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from recctl.evaluation.ranking import without_seen
from recctl.models.base import Recommender
from recctl.models.blend import Blend
from recctl.models.item_knn import ItemKNN
from recctl.models.markov import Markov
from recctl.models.popularity import RecentPopularity
from recctl.sequences.store import Cases, SequenceData
from recctl.training.early_stopping import validation, validation_cases
from recctl.training.loop import Fit

COUNTED = (Markov, ItemKNN, RecentPopularity)
"""The parts of a blend beside its network."""
_CANDIDATES = 100
"""Best items of each part that the targets are compared with."""
_LEAST = 0.01
"""A part that moves the scores by less than this share of the strongest is left out."""
_BATCH = 128
_SCORES = 2**24
"""Scores of a part held at a time: 64 MiB of float32."""


def blended(done: Fit, data: SequenceData, filter_seen: bool) -> Fit:
    """A network's training with a blend of the network and counted models in its place."""
    train = data.train()
    counted = [model.fit(train, done.model.n_items) for model in COUNTED]
    cases = validation_cases(data)
    model = fit_blend([done.model, *counted], cases, filter_seen=filter_seen)
    return replace(done, model=model, best_ndcg=validation(data, filter_seen)(model))


def fit_blend(parts: list[Recommender], cases: Cases, *, filter_seen: bool) -> Blend:
    """A blend of the parts; where the cases show nothing it scores as the first part does.

    The cases are those of validation: no part has learnt from their targets.
    """
    choices = _choices(parts, cases, filter_seen)
    weights, moved = _most_likely(choices)
    kept = [i for i in range(len(parts)) if moved[i] > _LEAST * max(moved)]
    if not kept:
        return Blend({parts[0].kind: parts[0]}, {parts[0].kind: 1.0})
    return Blend({parts[i].kind: parts[i] for i in kept}, {parts[i].kind: weights[i] for i in kept})


@dataclass(frozen=True)
class _Choices:
    """Users whose target is among their candidates, the best items of each part.

    Which items are candidates depends on the evidence and not on the target, so that leaving out
    all others biases no weight (McFadden 1978).
    """

    evidence: Tensor
    """(parts, users, candidates), 0 where hidden; float64"""
    hidden: Tensor
    """Seen items, and repetitions of a candidate; (users, candidates)"""
    target: Tensor
    """The candidate that is the user's target; (users,)"""


def _choices(parts: list[Recommender], cases: Cases, filter_seen: bool) -> _Choices:
    n_items = parts[0].n_items
    size = max(1, min(_BATCH, _SCORES // n_items))
    found = []
    for first in range(0, len(cases), size):
        rows = slice(first, first + size)
        histories = cases.histories.select(rows)
        with torch.inference_mode():
            scores = [part.evidence(histories).cpu() for part in parts]
        if filter_seen:
            scores = [without_seen(one, histories) for one in scores]
        best = [one.topk(min(_CANDIDATES, n_items)).indices for one in scores]
        items = torch.cat(best, dim=1).sort(dim=1).values
        evidence = torch.stack([one.gather(1, items) for one in scores]).double()
        repeated = F.pad(items[:, 1:] == items[:, :-1], (1, 0))
        hidden = repeated | evidence[0].isinf()
        wanted = torch.from_numpy(cases.targets[rows].astype(np.int64))[:, None]
        at = (items == wanted) & ~hidden
        there = at.any(dim=1)
        evidence = evidence.masked_fill(hidden, 0)[:, there]
        found.append((evidence, hidden[there], at[there].long().argmax(dim=1)))
    evidences, hiddens, targets = zip(*found, strict=True)
    return _Choices(torch.cat(evidences, dim=1), torch.cat(hiddens), torch.cat(targets))


def _most_likely(choices: _Choices) -> tuple[list[float], list[float]]:
    """The weights, none negative, and by how much each moves its part's scores.

    The mode of a conditional logit (convex, so that there is one) with a Gaussian prior of the
    worth of one user: the first part alone, as it is.
    """
    if not len(choices.target):
        return [0.0] * len(choices.evidence), [0.0] * len(choices.evidence)
    spread = torch.stack([one[~choices.hidden].std(correction=0) for one in choices.evidence])
    spread = torch.where(spread > 0, spread, 1.0)
    evidence = choices.evidence / spread[:, None, None]
    own = evidence.gather(2, choices.target.expand(len(spread), -1)[..., None]).sum((1, 2))
    closed = torch.zeros(choices.hidden.shape).masked_fill(choices.hidden, -torch.inf)
    prior = torch.zeros(len(spread), dtype=torch.float64)
    prior[0] = spread[0]

    def loss(given: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = torch.from_numpy(given)
        logits = torch.einsum("p,puc->uc", weights, evidence) + closed
        total = logits.logsumexp(dim=1)
        chances = (logits - total[:, None]).exp()
        expected = torch.einsum("uc,puc->p", chances, evidence)
        away = weights - prior
        value = total.sum() - weights @ own + away @ away / 2
        return float(value), (expected - own + away).numpy()

    from scipy.optimize import minimize  # most trainings do not need it

    bounds = [(0, None)] * len(spread)
    found = minimize(loss, prior.numpy(), jac=True, method="L-BFGS-B", bounds=bounds)
    return (found.x / spread.numpy()).tolist(), found.x.tolist()
