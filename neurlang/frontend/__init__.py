"""What users call: arrays, NumPy's functions on them, tracing."""
