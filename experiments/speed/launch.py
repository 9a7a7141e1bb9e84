"""The same training on one device, on many, and by two processes; each in processes of its own."""

import json
import os
import socket
import subprocess
import sys
from typing import Any


def measure_mesh(devices: int) -> dict[str, Any]:
    """Operations a device on a mesh over an even share of all, and whether trajectories agree."""
    alone = _train(processes=1, devices=1)
    many = _train(processes=1, devices=devices)
    both = _train(processes=2, devices=devices // 2)
    return {
        "devices": devices,
        "values": alone["values"],
        "operations_ratio": devices * many["flops"] / alone["flops"],
        "same_bits_on_devices": many["bits"] == alone["bits"],
        "same_bits_by_two_processes": both["bits"] == alone["bits"],
    }


def _train(processes: int, devices: int) -> dict[str, Any]:
    """What `on_a_mesh` prints, run by so many processes with so many simulated devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "experiments.speed.on_a_mesh", "--devices", str(devices)]
    if processes > 1:
        command += ["--processes", str(processes), "--address", address]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    running = [
        subprocess.Popen(
            [*command, "--process", str(number)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=500) for process in running]
    finally:
        for process in running:
            process.kill()
    for process, (_, errors) in zip(running, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{errors}")
    return json.loads(outputs[0][0].splitlines()[-1])
