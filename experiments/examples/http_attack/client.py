"""What an attacker has: an address, and probabilities from it."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import requests

_PATIENCE = 5.0  # seconds for an answer


@contextmanager
def served() -> Iterator[str]:
    """The classifier in a process of its own; its address."""
    command = [sys.executable, "-m", "experiments.examples.http_attack.server"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        if not port:
            raise RuntimeError("the server ended before it had a port; its error is above.")
        yield f"http://127.0.0.1:{port}/predict"
    finally:
        server.terminate()
        server.communicate()


class Remote:
    """A classifier at an address; every question is counted, from any thread."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock, self._of_thread = threading.Lock(), threading.local()
        self._sessions: list[requests.Session] = []
        self.num_questions = 0

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._sessions:
            session.close()

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Probabilities of the ten digits; image of shape (64,), from 0 to 1."""
        answer = self._session().post(
            self._address, json={"image": image.tolist()}, timeout=_PATIENCE
        )
        answer.raise_for_status()
        return np.asarray(answer.json()["probabilities"])

    def margin(self, image: np.ndarray, label: int) -> float:
        """Logarithm of the label's odds against the likeliest other digit; negative: another."""
        logarithms = np.log(np.maximum(self.probabilities(image), 1e-300))
        return float(logarithms[label] - np.delete(logarithms, label).max())

    def _session(self) -> requests.Session:
        """A connection of this thread, which is kept open."""
        with self._lock:
            self.num_questions += 1
        if not hasattr(self._of_thread, "session"):
            self._of_thread.session = requests.Session()
            with self._lock:
                self._sessions.append(self._of_thread.session)
        return self._of_thread.session
