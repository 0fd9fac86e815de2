"""Benchmark results as one SVG: speed-ups as bars, and every program under the roofline."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from neurlang.bench import Result
from neurlang.peaks import Peaks

WIDTH = 860
LABELS = 160  # room for the programs' names
ROW = 26
BAR = 9
MARGIN = 40
ROOF_HEIGHT = 380
COLOURS = {"numpy": "#2f6db3", "interpreted": "#e08a2c"}
ROOFS = {"L2": "#8a8a8a", "L3": "#b0b0b0", "memory": "#555555"}


def svg(results: Sequence[Result], peaks: Peaks) -> str:
    """The whole picture as text."""
    bars_height = MARGIN + ROW * len(results) + MARGIN
    height = bars_height + ROOF_HEIGHT + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        *_bars(results),
        *_roofline(results, peaks, bars_height + MARGIN),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _text(x: float, y: float, text: str, anchor: str = "start", **more: str) -> str:
    attributes = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{attributes}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dashes}/>'
    )


def _bars(results: Sequence[Result]) -> Iterator[str]:
    """One row a program with two bars from 0; a dashed line stands at 1, equally fast."""
    yield _text(MARGIN, 20, "times faster than", font_weight="bold")
    x = MARGIN + 130.0
    for way, colour in COLOURS.items():
        yield f'<rect x="{x:.1f}" y="10" width="10" height="10" fill="{colour}"/>'
        yield _text(x + 14, 20, {"numpy": "NumPy"}.get(way, way))
        x += 80
    start = MARGIN + LABELS
    top = max((r.speed_up(way) for r in results for way in COLOURS), default=1.0)
    scale = (WIDTH - start - 2 * MARGIN) / max(top, 1.0)
    for number, result in enumerate(results):
        y = MARGIN + ROW * number
        yield _text(start - 8, y + BAR + 4, result.name, "end")
        for place, (way, colour) in enumerate(COLOURS.items()):
            value = result.speed_up(way)
            at = y + place * (BAR + 1)
            yield (
                f'<rect x="{start}" y="{at}" width="{value * scale:.1f}" height="{BAR}" '
                f'fill="{colour}"/>'
            )
            yield _text(start + value * scale + 4, at + BAR, f"{value:.1f}", font_size="10")
    bottom = MARGIN + ROW * len(results)
    yield _line(start + scale, MARGIN - 4, start + scale, bottom, "black", "3 3")


class _Axes:
    """Logarithmic axes: FLOPs a byte to the right, FLOPs a second upwards."""

    def __init__(self, results: Sequence[Result], peaks: Peaks, top: float) -> None:
        points = [(r.flops / r.nbytes, r.flops_per_second) for r in results if r.flops]
        ridge = max(peaks.flops.values()) / min(peaks.read.values())
        across = [x for x, _ in points] + [ridge]
        up = [y for _, y in points] + list(peaks.flops.values())
        self.left = math.floor(math.log10(min(across)))
        self.right = math.ceil(math.log10(max(across)) + 0.3)
        self.low = math.floor(math.log10(min(up)))
        self.high = math.ceil(math.log10(max(up)))
        self.top = top

    def x(self, intensity: float) -> float:
        part = (math.log10(intensity) - self.left) / (self.right - self.left)
        return MARGIN + 30 + part * (WIDTH - 2 * MARGIN - 30)

    def y(self, rate: float) -> float:
        part = (math.log10(rate) - self.low) / (self.high - self.low)
        return self.top + ROOF_HEIGHT - part * ROOF_HEIGHT

    def lines(self) -> Iterator[str]:
        """A grid line and a number for every power of ten."""
        for power in range(self.left, self.right + 1):
            x = self.x(10.0**power)
            yield _line(x, self.top, x, self.top + ROOF_HEIGHT, "#e6e6e6")
            yield _text(x, self.top + ROOF_HEIGHT + 16, f"{10.0**power:g}", "middle")
        for power in range(self.low, self.high + 1):
            y = self.y(10.0**power)
            yield _line(self.x(10.0**self.left), y, self.x(10.0**self.right), y, "#e6e6e6")
            yield _text(MARGIN + 24, y + 4, f"{10.0 ** (power - 9):g}", "end")
        yield _text(WIDTH / 2, self.top + ROOF_HEIGHT + 34, "FLOPs a byte", "middle")


def _roofline(results: Sequence[Result], peaks: Peaks, top: float) -> Iterator[str]:
    axes = _Axes(results, peaks, top)
    yield _text(MARGIN, top - 12, f"GFLOP/s with {peaks.threads} threads", font_weight="bold")
    yield from axes.lines()
    first, last = 10.0**axes.left, 10.0**axes.right
    flat = max(peaks.flops.values())
    for level, rate in peaks.read.items():
        lowest = max(first, 10.0**axes.low / rate)
        ridge = min(last, flat / rate)
        yield _line(
            axes.x(lowest), axes.y(lowest * rate), axes.x(ridge), axes.y(ridge * rate), ROOFS[level]
        )
        yield _text(axes.x(ridge), axes.y(ridge * rate) - 6, level, "end", fill=ROOFS[level])
    for name, rate in peaks.flops.items():
        start = axes.x(max(first, rate / max(peaks.read.values())))
        yield _line(start, axes.y(rate), axes.x(last), axes.y(rate), "black")
        yield _text(axes.x(last), axes.y(rate) - 4, name, "end")
    for result in results:
        if result.flops:
            x, y = axes.x(result.flops / result.nbytes), axes.y(result.flops_per_second)
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS["numpy"]}"/>'
            yield _text(x + 6, y + 4, result.name, font_size="10")
