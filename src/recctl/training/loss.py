"""The training loss: cross-entropy over the whole catalogue, or over a sample of it."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from recctl.models.encoder import SequenceEncoder
from recctl.sequences.batching import Batch, Seen
from recctl.training.params import TrainParams

_CPU_CHUNK_BYTES = 8 << 20
_GPU_CHUNK_BYTES = 1 << 29


def training_loss(
    encoder: SequenceEncoder,
    params: TrainParams,
    hidden: Tensor,
    batch: Batch,
    generator: torch.Generator,
) -> Tensor:
    """The loss that the params name, of hidden vectors (n, size) and the batch's n targets.

    The `generator`, on the CPU, draws the negatives where the loss samples.
    """
    targets, n_items = batch.targets, encoder.n_items
    seen = batch.seen if params.filter_seen else None
    if params.loss == "full":
        items, bias = encoder.catalogue(), encoder.item_bias
        return catalogue_cross_entropy(hidden, items, bias, targets, seen, batch.weight)
    assert batch.weight is None  # lazy Adam would move the items of padding
    if params.loss == "sampled":
        drawn, shares = log_uniform(params.negatives, n_items, generator)
        negatives, log_share = _sent(drawn, hidden), _sent(shares, hidden)
        own, others = _scores(encoder, hidden, targets, negatives)
        return sampled_cross_entropy(own, others, targets, negatives, log_share, seen)
    negatives = _sent(torch.randint(n_items, (params.negatives,), generator=generator), hidden)
    own, others = _scores(encoder, hidden, targets, negatives)
    return gbce(own, others, targets, negatives, n_items, params.gbce_calibration, seen)


def _sent(drawn: Tensor, hidden: Tensor) -> Tensor:
    """On the device of the hidden vectors; CUDA copies small tensors without waiting."""
    return drawn.to(hidden.device, non_blocking=hidden.device.type == "cuda")


def _scores(
    encoder: SequenceEncoder, hidden: Tensor, targets: Tensor, negatives: Tensor
) -> tuple[Tensor, Tensor]:
    """Scores of the targets (n,), and of the negatives that all rows share (n, k)."""
    hidden, item, bias = hidden.float(), encoder.item, encoder.item_bias
    own = (hidden * item(targets)).sum(1) + bias[targets]
    return own, torch.addmm(bias[negatives], hidden, item(negatives).T)


class _CatalogueCrossEntropy(torch.autograd.Function):
    """Mean of -log softmax(hidden @ items.T + bias)[target]; gradients are taken on the way."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        items: Tensor,
        bias: Tensor,
        targets: Tensor,
        seen: Seen | None,
        weight: Tensor | None,
    ) -> Tensor:
        rows = len(hidden)
        hidden, items, bias = hidden.float(), items.float(), bias.float()
        chunk = _chunk_rows(hidden, len(items))
        d_hidden = torch.empty_like(hidden)
        d_items, d_bias = torch.zeros_like(items), torch.zeros_like(bias)
        total = hidden.new_zeros(())
        for begin in range(0, rows, chunk):
            part = slice(begin, begin + chunk)
            h, target = hidden[part], targets[part, None]
            logits = torch.addmm(bias, h, items.T)
            wanted = logits.gather(1, target)
            if seen is not None:
                logits.scatter_(1, seen.items(part, targets[part]), -torch.inf)
                logits.scatter_(1, target, wanted)
            top = logits.amax(1)
            gradient = torch.softmax(logits, 1, out=logits if logits.device.type == "cpu" else None)
            losses = top - gradient.amax(1).log() - wanted[:, 0]
            gradient.scatter_add_(1, target, gradient.new_full(target.shape, -1.0))
            if weight is not None:
                losses *= weight[part]
                gradient *= weight[part, None]
            total += losses.sum()
            torch.mm(gradient, items, out=d_hidden[part])
            d_items.addmm_(gradient.T, h)
            d_bias += gradient.sum(0)
        ctx.save_for_backward(d_hidden, d_items, d_bias)
        ctx.count = count = rows if weight is None else 1
        return total / count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        d_hidden, d_items, d_bias = ctx.saved_tensors
        each = gradients[0] / ctx.count
        return d_hidden * each, d_items * each, d_bias * each, None, None, None


def _chunk_rows(hidden: Tensor, n_items: int) -> int:
    budget = _CPU_CHUNK_BYTES if hidden.device.type == "cpu" else _GPU_CHUNK_BYTES
    return max(16, budget // (4 * n_items))


def catalogue_cross_entropy(
    hidden: Tensor,
    items: Tensor,
    bias: Tensor,
    targets: Tensor,
    seen: Seen | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of `targets` (n,) under softmax(hidden @ items.T + bias).

    hidden (n, size), items (n_items, size), bias (n_items,). Items that are `seen` are left out of
    a target's softmax, the target itself never. With a `weight` (n,) of sum one the mean is
    weighted. The n x n_items matrix of logits is computed in chunks: memory is one chunk on a CPU
    and two elsewhere, whatever n.
    """
    loss = _CatalogueCrossEntropy.apply(hidden, items, bias, targets, seen, weight)  # type: ignore[no-untyped-call]
    assert isinstance(loss, Tensor)
    return loss


def log_uniform(count: int, n_items: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Items drawn with replacement, the popular ones more often; with log of each one's share.

    Items are numbered by popularity, so P(i) = log((i + 2) / (i + 1)) / log(n + 1), near Zipf's law
    of exponent one, follows the popularity without a table of it. Both (count,).
    """
    uniform = torch.rand(count, dtype=torch.float64, generator=generator)
    drawn = torch.exp(uniform * math.log(n_items + 1)).long() - 1
    drawn = drawn.clamp(0, n_items - 1)
    share = torch.log1p(1 / (drawn + 1.0)) / math.log(n_items + 1)
    return drawn, share.log().float()


def sampled_cross_entropy(
    own: Tensor,
    others: Tensor,
    targets: Tensor,
    negatives: Tensor,
    log_share: Tensor,
    seen: Seen | None = None,
) -> Tensor:
    """Cross-entropy of the targets under a softmax whose sum is estimated from a sample.

    `own` (n,) are the scores of the `targets`, `others` (n, k) those of the `negatives` (k,), drawn
    with replacement with probability exp(log_share): each represents 1 / (k share) items of the
    sum (logQ correction; Bengio and Senecal 2008). One that is a row's target is left out there,
    for the target is counted itself, and so is one that is `seen`.
    """
    others = others - (log_share + math.log(len(negatives)))
    others = others.masked_fill(_no_rivals(targets, negatives, seen), -math.inf)
    return (torch.logsumexp(torch.cat([own[:, None], others], dim=1), dim=1) - own).mean()


def _no_rivals(targets: Tensor, negatives: Tensor, seen: Seen | None) -> Tensor:
    """The negatives (k,) that a target is not compared with; (n, k)."""
    own = negatives == targets[:, None]
    return own if seen is None else own | seen.among(negatives)


def gbce(
    own: Tensor,
    others: Tensor,
    targets: Tensor,
    negatives: Tensor,
    n_items: int,
    calibration: float,
    seen: Seen | None = None,
) -> Tensor:
    """Generalised binary cross-entropy (Petrov and Macdonald, RecSys 2023, equations 7 and 12).

    Scores as in `sampled_cross_entropy`; the `negatives` are drawn uniformly. The target's
    log-sigmoid is weighted by beta, which corrects the overconfidence due to sampling: with
    a = k / (n_items - 1) and t the `calibration`, beta = a (t (1 - 1 / a) + 1 / a); t = 0 is plain
    binary cross-entropy, t = 1 calibrates fully. The mean is over the k + 1 items, too.
    """
    share = len(negatives) / max(n_items - 1, 1)
    beta = share * (calibration * (1 - 1 / share) + 1 / share)
    wrong = F.softplus(others).masked_fill(_no_rivals(targets, negatives, seen), 0.0)
    return (beta * F.softplus(-own) + wrong.sum(1)).mean() / (len(negatives) + 1)
