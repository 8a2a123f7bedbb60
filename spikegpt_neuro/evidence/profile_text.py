"""What a fit to published runs writes as a profile of the chip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spikegpt_neuro.evidence.boards import CHIP, Free
from spikegpt_neuro.evidence.least_squares import Solution
from spikegpt_neuro.hardware.profile import Profile
from spikegpt_neuro.hardware.writing import constant_text, quoted, reference_to

UNITS = {"energy": ("pJ", 1e-12), "latency": ("ns", 1e-9), "power": ("W", 1.0)}


def profile_text(
    base: Profile,
    solved: Solution[Free],
    runs: Sequence[str],
    static: tuple[float, float, float] | None = None,
    absorbed: Mapping[str, str] | None = None,
) -> str:
    """The profile as TOML: constants of the chip that the runs determine, kind ``fitted``.

    ``static``    (lowest, mean, highest) watts of a chip, measured on one's own runs.
    ``absorbed``  key -> note, for constants that are part of others and become 0.
    """
    sections: dict[str, list[str]] = {}
    for free, factor in solved.factors.items():
        if free.board == CHIP:
            section, key = free.key.split(".")
            unit, size = UNITS[section]
            value = solved.values[free] / size
            ends = None if factor is None else (value / factor, value * factor)
            text = constant_text(value, unit, "fitted", "fit", ends=ends)
            sections.setdefault(section, []).append(f"{key} = {text}")
    for key, note in (absorbed or {}).items():
        entry = constant_text(0, "pJ", "fitted", "fit", note)
        sections.setdefault("energy", []).append(f"{key} = {entry}")
    sources = [f"fit = {quoted(_quality(solved, runs))}"]
    if static is not None:
        low, mean, high = static
        entry = constant_text(mean, "W", "measured", "own", ends=(low, high))
        sections.setdefault("power", []).append(f"static_per_chip = {entry}")
        sources.append('own = "our measurement: static energy over time and chips"')
    head = [
        f"# Written from runs: {', '.join(runs)}".replace("\n", " "),
        "schema = 1",
        f"title = {quoted(f'{base.name} with constants fitted to {len(runs)} runs')}",
        f"base = {quoted(reference_to(base))}",
        "",
        "[sources]",
        *sources,
    ]
    parts = (line for name, lines in sections.items() for line in ("", f"[{name}]", *lines))
    return "\n".join([*head, *parts, ""])


def _quality(solved: Solution[Free], runs: Sequence[str]) -> str:
    count = len(solved.residuals)
    return f"least squares in logarithms over {count} measurements of {len(runs)} runs"
