"""The learning rate as a function of the step, so that a resumed training needs no state."""

_FINAL_SHARE = 0.1


def learning_rate(step: int, *, peak: float, warmup: int, decay_steps: int) -> float:
    """Linear warm-up to `peak`, linear decay to a tenth of it at `decay_steps`, then constant.

    The constant tail lets early stopping see that validation no longer rises. A warm-up is never
    longer than a fifth of the decay.

    >>> [learning_rate(s, peak=1.0, warmup=2, decay_steps=12) for s in (0, 1, 2, 7, 12, 99)]
    [0.5, 1.0, 1.0, 0.55, 0.1, 0.1]
    """
    warmup = min(warmup, decay_steps // 5)
    if step < warmup:
        return peak * (step + 1) / warmup
    share = min(1.0, (step - warmup) / max(1, decay_steps - warmup))
    return peak * (1 - (1 - _FINAL_SHARE) * share)
