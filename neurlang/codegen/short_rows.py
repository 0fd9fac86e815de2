"""Elements of several vectors in other vectors: rows of few elements to columns, and back.

A shuffle takes lanes of two vectors. To pick each result from all sources on its own takes a
shuffle for each source but one. By halves it takes as many as there are halvings: of half of the
sources, what several results want fits in one vector, which all of them share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from neurlang.codegen.writer import Value, Writer

Lane = tuple[int, int]  # a vector and a lane of it


@dataclass(frozen=True, eq=False)
class Step:
    """A source, or a shuffle of the vectors that two other steps give."""

    source: int = 0
    parts: tuple[Step, ...] = ()
    places: tuple[int, ...] = ()


@lru_cache(maxsize=256)
def columns(lanes: int, length: int, count: int, backwards: bool) -> tuple[Step, ...]:
    """The columns of `count` rows of `length` elements, which vectors hold one after the other."""
    rows = range(count - 1, -1, -1) if backwards else range(count)
    wanted = [[divmod(row * length + n, lanes) for row in rows] for n in range(length)]
    return _Exchange(-(-count * length // lanes), lanes, wanted).results()


@lru_cache(maxsize=256)
def rows(lanes: int, length: int, count: int) -> tuple[Step, ...]:
    """Vectors that hold `count` rows one after the other, of a vector for each of their columns."""
    size = count * length
    wanted = [
        [divmod(place, length)[::-1] for place in range(start, min(start + lanes, size))]
        for start in range(0, size, lanes)
    ]
    return _Exchange(length, lanes, wanted).results()


def exchanged(
    writer: Writer, step: Step, sources: Sequence[Value], done: dict[Step, Value]
) -> Value:
    """The vector that a step gives; `done` are those that were written before."""
    if not step.parts:
        return sources[step.source]
    if step not in done:
        first, *others = (exchanged(writer, part, sources, done) for part in step.parts)
        done[step] = writer.shuffle(first, others[-1] if others else first, step.places)
    return done[step]


class _Exchange:
    """Results of which every lane is a lane of some source: `wanted[n]` are those of result n."""

    def __init__(self, sources: int, lanes: int, wanted: Sequence[Sequence[Lane]]) -> None:
        self.sources = sources
        self.lanes = lanes
        self.wanted = wanted
        self.packed: dict[tuple[int, int, range], tuple[Step, list[Lane]]] = {}
        self.before = [
            [sum(source < end for source, _ in found) for end in range(sources + 1)]
            for found in wanted
        ]

    def results(self) -> tuple[Step, ...]:
        return tuple(map(self._result, range(len(self.wanted))))

    def _result(self, number: int) -> Step:
        step, held = self._packed(0, self.sources, range(number, number + 1))
        return self._shuffled((step,), [held], self.wanted[number])

    def _packed(self, low: int, high: int, results: range) -> tuple[Step, list[Lane]]:
        """What results want of the sources low..high in one vector, and where it comes from."""
        if high - low == 1:
            return Step(low), [(low, lane) for lane in range(self.lanes)]
        key = low, high, results
        if key not in self.packed:
            middle = (low + high) // 2
            ends = (low, middle), (middle, high)
            parts = [self._packed(*end, self._sharing(*end, results)) for end in ends]
            lanes = [at for n in results for at in self.wanted[n] if low <= at[0] < high]
            steps = tuple(step for step, _ in parts)
            self.packed[key] = self._shuffled(steps, [held for _, held in parts], lanes), lanes
        return self.packed[key]

    def _sharing(self, low: int, high: int, results: range) -> range:
        """Results around these, twice and twice as many, whose lanes fit in one vector."""
        size = 1 << (len(results) - 1).bit_length()
        while size < len(self.wanted):
            start = results.start // (2 * size) * (2 * size)
            more = range(start, min(start + 2 * size, len(self.wanted)))
            if sum(self.before[n][high] - self.before[n][low] for n in more) > self.lanes:
                break
            results, size = more, 2 * size
        return results

    def _shuffled(
        self, steps: tuple[Step, ...], held: Sequence[Sequence[Lane]], lanes: Sequence[Lane]
    ) -> Step:
        """These lanes of what steps hold; any where there are fewer than a vector has."""
        where = {
            lane: part * self.lanes + place
            for part, found in enumerate(held)
            for place, lane in enumerate(found)
        }
        places = [where[lane] for lane in lanes]
        if places == list(range(self.lanes)):
            return steps[0]
        return Step(0, steps, (*places, *[-1] * (self.lanes - len(places))))
