"""Figures as people read them; `-` where there is none."""


def figure(value: float | None, digits: int = 4) -> str:
    """A metric without its leading zero.

    >>> figure(0.248), figure(1.0), figure(-0.5), figure(None), figure(10.06, 1)
    ('.2480', '1.0000', '-.5000', '-', '10.1')
    """
    if value is None:
        return "-"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def signed(value: float | None) -> str:
    """A difference with its sign; what rounds to zero is not shown as a loss.

    >>> signed(0.0168), signed(-0.003), signed(-0.00001), signed(None)
    ('+.0168', '-.0030', '+.0000', '-')
    """
    if value is None:
        return "-"
    shown = round(value, 4)
    return figure(value) if shown < 0 else f"+{figure(abs(shown))}"


def bounds(low: float | None, high: float | None) -> str:
    """The interval of a difference; `-` where none was computed.

    >>> bounds(-0.0012, 0.0145)
    '[-.0012, +.0145]'
    """
    return "-" if low is None or high is None else f"[{signed(low)}, {signed(high)}]"


def change(difference: float, low: float, high: float) -> str:
    """A difference with its 95% interval.

    >>> change(0.0168, 0.0101, 0.0236)
    '+.0168 [+.0101, +.0236]'
    """
    return f"{signed(difference)} {bounds(low, high)}"


def span(low: float | None, high: float | None) -> str:
    """The interval of a metric.

    >>> span(0.1, 0.2)
    '.1000 to .2000'
    """
    return "-" if low is None or high is None else f"{figure(low)} to {figure(high)}"


def count(value: int | None) -> str:
    """A whole number with commas."""
    return "-" if value is None else f"{value:,}"


def percent(share: float) -> str:
    """A share in per cent, never rounded down to none.

    >>> percent(0.25), percent(0.00004)
    ('25.0%', '0.004%')
    """
    return f"{share:.1%}" if share == 0 or share >= 0.001 else f"{100 * share:.1g}%"


def label(metric: str) -> str:
    """A metric's name as people write it.

    >>> label("ndcg@10")
    'NDCG@10'
    """
    return metric.upper()
