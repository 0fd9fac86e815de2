"""Real programs in plain NumPy, with seeded inputs: what `bench` times and `doctor` checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Random = np.random.Generator


@dataclass(frozen=True)
class NamedProgram:
    """A function, and how to make its arguments: of `size` for timing, of `small` for checking."""

    name: str
    function: Callable[..., Any]
    make: Callable[[Random, int], tuple[Any, ...]]
    size: int
    small: int

    @property
    def summary(self) -> str:
        """What the function computes, in one line."""
        return (self.function.__doc__ or "").split("\n")[0].rstrip(".")

    def arguments(self, small: bool = False) -> tuple[Any, ...]:
        """The same arguments every time."""
        return self.make(np.random.default_rng(0), self.small if small else self.size)


def normal(random: Random, *shape: int, scale: float = 1.0) -> Any:
    """Normally distributed float32 values."""
    return random.normal(0, scale, shape).astype(np.float32)


def softmax(x: Any) -> Any:
    """Softmax of each row."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def layer_norm(x: Any, scale: Any, shift: Any) -> Any:
    """Rows with mean 0 and variance 1, then scaled and shifted."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + 1e-5) * scale + shift


def gelu_layer(x: Any, weights: Any, bias: Any) -> Any:
    """A dense layer with GELU in the form of its tanh approximation."""
    h = x @ weights + bias
    return 0.5 * h * (1 + np.tanh(0.7978845608 * (h + 0.044715 * h * h * h)))


def attention_head(query: Any, key: Any, value: Any) -> Any:
    """One head of scaled dot-product attention."""
    scores = query @ key.T / np.sqrt(np.float32(query.shape[-1]))
    return softmax(scores) @ value


def black_scholes(spot: Any, strike: Any, years: Any) -> Any:
    """Prices of European calls at 2 % interest and 30 % volatility."""
    deviation = 0.3 * np.sqrt(years)
    d1 = (np.log(spot / strike) + (0.02 + 0.3 * 0.3 / 2) * years) / deviation
    discounted = strike * np.exp(-0.02 * years)
    return spot * _normal_distribution(d1) - discounted * _normal_distribution(d1 - deviation)


def _normal_distribution(x: Any) -> Any:
    """Abramowitz and Stegun, Handbook of Mathematical Functions, 1964, 26.2.17; error 7.5e-8."""
    t = 1 / (1 + 0.2316419 * np.abs(x))
    tail = t * (-1.821255978 + t * 1.330274429)
    tail = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + tail)))
    upper = 0.3989422804 * np.exp(-0.5 * x * x) * tail
    return np.where(x < 0, upper, 1 - upper)


def kmeans_step(points: Any, centres: Any) -> Any:
    """One step of Lloyd's algorithm: nearest centres, then the means of their points."""
    distances = (centres * centres).sum(axis=1) - 2 * (points @ centres.T)
    nearest = np.argmin(distances, axis=1)
    belongs = (nearest[:, None] == np.arange(centres.shape[0])).astype(points.dtype)
    counts = np.maximum(belongs.sum(axis=0), 1)
    return nearest, (belongs.T @ points) / counts[:, None]


def logistic_step(weights: Any, features: Any, labels: Any) -> Any:
    """One step of gradient descent for logistic regression."""
    predicted = 1 / (1 + np.exp(-(features @ weights)))
    gradient = features.T @ (predicted - labels) / features.shape[0]
    return weights - 0.1 * gradient


def jacobi(grid: Any) -> Any:
    """One Jacobi sweep for Laplace's equation inside a fixed border."""
    inner = 0.25 * (grid[:-2, 1:-1] + grid[2:, 1:-1] + grid[1:-1, :-2] + grid[1:-1, 2:])
    change = inner - grid[1:-1, 1:-1]
    return inner, (change * change).sum()


def pairwise_distances(x: Any, y: Any) -> Any:
    """Euclidean distances between all rows of two sets."""
    squares = (x * x).sum(axis=1)[:, None] + (y * y).sum(axis=1) - 2 * (x @ y.T)
    return np.sqrt(np.maximum(squares, 0))


def moving_average(x: Any) -> Any:
    """Means of 8 neighbours."""
    count = x.shape[0] - 7
    total = x[:count]
    for offset in range(1, 8):
        total = total + x[offset : offset + count]
    return total / 8


def power_iteration(data: Any, vector: Any) -> Any:
    """One power iteration towards the first principal component."""
    centred = data - data.mean(axis=0)
    product = centred.T @ (centred @ vector)
    return product / np.sqrt((product * product).sum())


def digits_forward(images: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """A classifier of two layers for 8 x 8 images: the most likely digit of each."""
    return np.argmax(np.tanh(images @ w1 + b1) @ w2 + b2, axis=1)


def adam_step(weights: Any, gradient: Any, mean: Any, square: Any) -> Any:
    """One update of the Adam optimiser."""
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient * gradient
    return weights - 0.001 * mean / (np.sqrt(square) + 1e-8), mean, square


def standardize(x: Any) -> Any:
    """Columns with mean 0 and deviation 1."""
    centred = x - x.mean(axis=0)
    return centred / np.sqrt((centred * centred).mean(axis=0))


def _many(*shapes: Callable[[int], tuple[int, ...]]) -> Callable[[Random, int], tuple[Any, ...]]:
    """Normal values in shapes that depend on the size."""
    return lambda random, size: tuple(normal(random, *shape(size)) for shape in shapes)


def _options(random: Random, size: int) -> tuple[Any, ...]:
    spot, strike = random.uniform(50, 150, (2, size))
    return spot, strike, random.uniform(0.1, 2.0, size)


def _labelled(random: Random, size: int) -> tuple[Any, ...]:
    features = normal(random, size, 64)
    labels = (features[:, 0] > 0).astype(np.float32)
    return normal(random, 64, scale=0.1), features, labels


def _optimizer(random: Random, size: int) -> tuple[Any, ...]:
    weights, gradient, mean = (normal(random, size) for _ in range(3))
    return weights, gradient, mean, normal(random, size) ** 2


def _digits(random: Random, size: int) -> tuple[Any, ...]:
    w1, w2 = normal(random, 64, 64, scale=0.1), normal(random, 64, 10, scale=0.1)
    return normal(random, size, 64), w1, normal(random, 64), w2, normal(random, 10)


def _square(n: int) -> tuple[int, ...]:
    return (n, n)


def _line(n: int) -> tuple[int, ...]:
    return (n,)


PROGRAMS: Mapping[str, NamedProgram] = {
    program.name: program
    for program in (
        NamedProgram("softmax", softmax, _many(_square), 1024, 33),
        NamedProgram("layer_norm", layer_norm, _many(_square, _line, _line), 1024, 33),
        NamedProgram(
            "gelu_layer",
            gelu_layer,
            _many(lambda n: (n, 2 * n), lambda n: (2 * n, n), _line),
            384,
            20,
        ),
        NamedProgram("attention_head", attention_head, _many(*3 * [lambda n: (n, 64)]), 384, 17),
        NamedProgram("black_scholes", black_scholes, _options, 200_000, 100),
        NamedProgram(
            "kmeans_step", kmeans_step, _many(lambda n: (n, 8), lambda _: (16, 8)), 20_000, 100
        ),
        NamedProgram("logistic_step", logistic_step, _labelled, 4096, 50),
        NamedProgram("jacobi", jacobi, _many(_square), 1024, 35),
        NamedProgram(
            "pairwise_distances", pairwise_distances, _many(*2 * [lambda n: (n, 32)]), 512, 20
        ),
        NamedProgram("moving_average", moving_average, _many(_line), 1_000_000, 200),
        NamedProgram(
            "power_iteration", power_iteration, _many(lambda n: (n, 64), lambda _: (64,)), 4096, 40
        ),
        NamedProgram("digits_forward", digits_forward, _digits, 1024, 30),
        NamedProgram("adam_step", adam_step, _optimizer, 500_000, 100),
        NamedProgram("standardize", standardize, _many(lambda n: (n, 128)), 4096, 40),
    )
}
