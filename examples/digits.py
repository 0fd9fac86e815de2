"""Train a small neural network on handwritten digits with a compiled NumPy function.

`train_step` is plain NumPy: take the decorator away and the program still runs. It is a classifier
of two layers, 64 -> 64 -> 10, with the gradient written by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import neurlang as nl

DATA = Path(__file__).parent / "data" / "digits.npz"
BATCH = 32
EPOCHS = 30
HIDDEN = 64
RATE = 0.5
GOAL = 0.95

Arrays = tuple[np.ndarray, ...]


@nl.jit
def train_step(w1, b1, w2, b2, images, labels):
    """One step of gradient descent; returns the new parameters and the loss before it."""
    hidden = np.tanh(images @ w1 + b1)
    scores = hidden @ w2 + b2
    scores = scores - scores.max(axis=1, keepdims=True)
    powers = np.exp(scores)
    totals = powers.sum(axis=1, keepdims=True)
    wanted = (labels[:, None] == np.arange(10)).astype(np.float32)
    loss = np.mean(np.log(totals[:, 0]) - (scores * wanted).sum(axis=1))

    # d loss / d scores = (softmax(scores) - wanted) / batch, and the chain rule from there.
    d_scores = (powers / totals - wanted) / images.shape[0]
    d_hidden = (d_scores @ w2.T) * (1 - hidden * hidden)
    return (
        w1 - RATE * (images.T @ d_hidden),
        b1 - RATE * d_hidden.sum(axis=0),
        w2 - RATE * (hidden.T @ d_scores),
        b2 - RATE * d_scores.sum(axis=0),
        loss,
    )


@nl.jit
def classify(w1, b1, w2, b2, images):
    """The most likely digit for each image."""
    return np.argmax(np.tanh(images @ w1 + b1) @ w2 + b2, axis=1)


def load_digits(source: np.random.Generator) -> tuple[Arrays, Arrays]:
    """Images as float32 in 0..1 and labels: four fifths to train with, one fifth to test."""
    with np.load(DATA) as file:
        images, labels = file["images"].astype(np.float32) / 16, file["labels"].astype(np.int32)
    order = source.permutation(len(images))
    train, test = np.split(order, [len(order) * 4 // 5])
    return (images[train], labels[train]), (images[test], labels[test])


def first_parameters(source: np.random.Generator) -> Arrays:
    """Weights whose products keep the variance of what they multiply; biases of zero."""
    w1 = source.normal(0, 64**-0.5, (64, HIDDEN)).astype(np.float32)
    w2 = source.normal(0, HIDDEN**-0.5, (HIDDEN, 10)).astype(np.float32)
    return w1, np.zeros(HIDDEN, np.float32), w2, np.zeros(10, np.float32)


def batches(data: Arrays, source: np.random.Generator) -> Iterator[Arrays]:
    """Every image once in random order, in batches of one size; the rest waits for next time."""
    images, labels = data
    order = source.permutation(len(images))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        yield images[chosen], labels[chosen]


def train(seed: int = 0) -> tuple[Arrays, float]:
    """Train and report; returns the arguments of one more step, and the accuracy reached."""
    source = np.random.default_rng(seed)
    train_data, (test_images, test_labels) = load_digits(source)
    parameters = first_parameters(source)
    accuracy = 0.0
    for epoch in range(1, EPOCHS + 1):
        for batch in batches(train_data, source):
            *parameters, loss = train_step(*parameters, *batch)
        if epoch == 1 or epoch % 5 == 0:
            accuracy = np.mean(classify(*parameters, test_images) == test_labels)
            print(f"epoch {epoch:2}   loss {float(loss):.4f}   test accuracy {accuracy:.1%}")
    return (*parameters, *batch), float(accuracy)


def show_stages(arguments: Arrays) -> None:
    """What the compiler makes of `train_step`, from the trace to machine code."""
    compiled = train_step.lower(*arguments).compile()
    for stage in ("trace", "graph", "loops", "llvm", "asm"):
        lines = compiled.as_text(stage).splitlines()
        print(f"\n{stage}: {len(lines)} lines")
        if stage in ("graph", "loops"):
            for line in lines[:20]:
                print("    " + line[:110])
            if len(lines) > 20:
                print("    ...")


def fastest(functions: dict[str, Callable[[], Any]], rounds: int = 60) -> dict[str, float]:
    """Seconds a call of each function takes, the least over rounds in which all take turns."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(10):
                function()
            best[name] = min(best[name], (time.perf_counter() - start) / 10)
    return best


def compare(arguments: Arrays) -> None:
    """Check the compiled step against NumPy's, then time both and the interpreted graph."""
    graph = train_step.trace(*arguments).graph
    ways = {
        "compiled": lambda: train_step(*arguments),
        "interpreted": lambda: nl.interpret(graph, *arguments),
        "NumPy": lambda: train_step.__wrapped__(*arguments),
    }
    expected = ways["NumPy"]()
    for name in ("compiled", "interpreted"):
        for found, wanted in zip(ways[name](), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5, err_msg=name)
    print(f"\none training step, batch of {BATCH} (all three agree):")
    seconds = fastest(ways)
    for name, value in seconds.items():
        ratio = value / seconds["compiled"]
        print(f"    {name:12} {value * 1e6:7.1f} us   {ratio:5.2f} x the compiled time")


def main() -> None:
    """Train, look inside, compare; fail when the network has not learned to read."""
    start = time.perf_counter()
    arguments, accuracy = train()
    print(f"{EPOCHS} epochs in {time.perf_counter() - start:.2f} s, compilation included")
    show_stages(arguments)
    compare(arguments)
    if accuracy < GOAL:
        raise SystemExit(f"the accuracy is {accuracy:.1%}, below {GOAL:.0%}")


if __name__ == "__main__":
    main()
