"""A digit classifier behind HTTP: `python -m experiments.examples.http_attack.server`.

It trains for a second, takes a free port of the loopback interface, prints it, and then answers
POST /predict {"image": [64 numbers from 0 to 1]} by {"probabilities": [10 numbers]}.
"""

import socket
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

_PIXELS = 64


class Query(BaseModel):
    """A question."""

    image: list[float]


class Answer(BaseModel):
    """What there is to know: probabilities, and nothing of how they came about."""

    probabilities: list[float]


def held_out() -> tuple[np.ndarray, np.ndarray]:
    """Digits that the classifier is not trained on: images (n, 64) from 0 to 1, labels (n,)."""
    _, images, _, labels = _split()
    return images, labels


def create_app() -> FastAPI:
    """The application, with a classifier trained now."""
    images, _, labels, _ = _split()
    classifier = MLPClassifier((64,), alpha=0.1, max_iter=80, tol=1e-2, random_state=0)
    classifier.fit(images, labels)
    app = FastAPI()

    @app.post("/predict")
    def predict(query: Query) -> Answer:
        if len(query.image) != _PIXELS or not np.isfinite(query.image).all():
            raise HTTPException(422, f"image: wanted {_PIXELS} finite numbers")
        found = classifier.predict_proba(np.asarray(query.image)[None])
        return Answer(probabilities=np.ravel(found).tolist())

    return app


def _split() -> Any:
    images, labels = load_digits(return_X_y=True)
    return list(train_test_split(images / 16, labels, test_size=0.2, random_state=0))


def main() -> None:
    """Serve until killed."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # from now on questions wait instead of being refused
    app = create_app()
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


if __name__ == "__main__":
    main()
