"""What is counted beside values: compilations."""

import contextlib

import jax

OF_EACH_KIND = ("rspg", "zosah", "zoha", "zopqn", "block_newton")
"""Methods of one stage, of two that move, of one that looks before it moves, of many. What compiles
large programs of every method is run on these here, and on the others in the second stage."""


@contextlib.contextmanager
def compilations():
    """Counts what XLA compiles meanwhile."""
    seen = []

    def listen(event, duration, **kwargs):
        del duration
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(kwargs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
