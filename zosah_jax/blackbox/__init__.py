"""Face 3: objectives that JAX cannot trace.

`ask_tell` steps any transformation from outside; `run` is `minimize` on the host, built of
`answers` (executors, retries, timeouts), `journal` (every value, on disk), `checkpoint`, `noise`
and `candidates`; `host_function` takes a Python callable into a jitted `update`.
"""
