"""What is counted beside values: compilations."""

import contextlib

import jax


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
