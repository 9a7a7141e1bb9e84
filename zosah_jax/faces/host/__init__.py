"""The host run: objectives that JAX cannot trace.

`ask_tell` steps a method from outside. `run` is `minimize` on the host: `evaluator` calls the
objective (through `pool`, where it runs elsewhere) and keeps every value in the `log`; `noise`
measures the noise of a value, and `course` is what noise changes of a run. `host_function` takes a
Python function into a jitted `update`.
"""
