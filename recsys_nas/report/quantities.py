"""How the report and the table write numbers: three significant digits, decimal prefixes, a real minus sign."""

from __future__ import annotations

from recsys_nas.report.records import Record

MINUS = "\N{MINUS SIGN}"
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(value: float, unit: str = "") -> str:
    """`1234567` -> `1.23 M`; below a thousand as it stands. Prefixes are decimal, for bytes too."""
    for factor, prefix in _PREFIXES:
        # 999.5 k would be written as 1000 k
        if abs(value) >= factor * 0.9995:
            scaled = value / factor
            digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
            return f"{scaled:.{digits}f} {prefix}{unit}"
    return f"{value:.0f} {unit}".rstrip()


def duration(seconds: float) -> str:
    """`93.4` -> `1 min 33 s`; one decimal below ten seconds, no seconds beyond an hour."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def signed(value: float, digits: int = 4) -> str:
    """`-0.00123` -> `-0.0012` with a real minus sign; a value that rounds to nothing carries no sign."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return (MINUS if value < 0 else "+") + text


def with_interval(text: str, half_width: float | None, digits: int = 4) -> str:
    """`0.7412` and `0.0008` -> `0.7412 ± 0.0008`; the bare text without a half-width."""
    return text if half_width is None else f"{text} ± {half_width:.{digits}f}"


def share(ratio: float) -> str:
    """One cost as a share of another: `21 %` up to one, `1.8 times` above."""
    if ratio < 0.995:
        return f"{ratio * 100:.2g} %" if ratio < 0.1 else f"{ratio * 100:.0f} %"
    return f"{ratio:.2g} times" if ratio < 9.95 else f"{ratio:.0f} times"


def at_share(ratio: float, what: str) -> str:
    """`0.21` -> `at 21 % of its dense FLOPs`, `1` -> `at the same dense FLOPs`, `1.8` -> `at 1.8 times its dense FLOPs`."""
    if 0.995 <= ratio < 1.005:
        return f"at the same {what}"
    return f"at {share(ratio)} {'of ' if ratio < 1 else ''}its {what}"


def judged_days(test: Record) -> str:
    """What models were judged by, from `test` of results.json: `day 5`, or `days 4 to 9, each by models of the days before`."""
    days = test.get("days") or [test["day"]]
    if len(days) == 1:
        return f"day {days[0]}"
    gapless = days == list(range(days[0], days[-1] + 1))
    return f"days {f'{days[0]} to {days[-1]}' if gapless else ', '.join(map(str, days))}, each by models of the days before"
