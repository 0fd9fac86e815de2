"""neurlang: a JIT compiler from traced array graphs to native CPU code."""

__version__ = "0.1.0"
