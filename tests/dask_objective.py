"""An objective for Dask's workers: every call leaves a file, and one takes its worker down."""

import os
import time
import uuid
from pathlib import Path

import numpy as np


def objective(folder: str, deadly: int, x: np.ndarray) -> float:
    """Bowl; the call number `deadly` kills its process."""
    number = len(list(Path(folder).iterdir()))
    Path(folder, uuid.uuid4().hex).touch()
    if number == deadly:
        os._exit(1)
    time.sleep(0.01)
    return float(((x - np.arange(4)) ** 2).sum())
