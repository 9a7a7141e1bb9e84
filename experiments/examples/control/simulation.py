"""Gymnasium's pendulum, and a controller with five gains that swings it up and holds it."""

from dataclasses import dataclass

import gymnasium
import numpy as np

# In units in which 1 is a plausible first guess: see `Controller`.
GAINS = ("pump", "energy", "proportional", "derivative", "catch")
GUESS = np.ones(len(GAINS))
_STEPS = 200


@dataclass(frozen=True)
class Controller:
    """Pumps energy into the swing, and catches the pendulum near the top by a PD rule.

    Which of the two acts is decided at every instant, so that the cost of an episode jumps as the
    gains move.

    Attributes:
        gains: pump (0.3), energy to reach (at rest at the top), proportional (10), derivative (2)
            and the angle of the catch (0.5), in units of the numbers in brackets, shape (5,).
    """

    gains: np.ndarray

    def torque(self, angle: float, speed: float) -> float:
        """Torque at an angle from the upright and an angular speed, before it is cut to +-2."""
        pump, energy, proportional, derivative, catch = self.gains
        if abs(angle) < 0.5 * catch:
            return -10 * proportional * angle - 2 * derivative * speed
        missing = 15 * energy - (speed**2 / 2 + 15 * np.cos(angle))
        return 0.3 * pump * missing * speed


class Cost:
    """Mean cost a step over some episodes; a class, so that it can be sent to other processes."""

    def __init__(self, starts: tuple[int, ...]) -> None:
        self.starts = starts

    def __call__(self, gains: np.ndarray) -> float:
        """Cost of a controller: squared angle, speed and torque as Gymnasium weighs them."""
        return float(np.mean([episode(gains, start)[0] for start in self.starts]))


def episode(gains: np.ndarray, start: int) -> tuple[float, np.ndarray]:
    """Mean cost of an episode of ten seconds, and its angles; `start` seeds where it starts."""
    environment = gymnasium.make("Pendulum-v1", disable_env_checker=True).unwrapped
    (cos, sin, speed), _ = environment.reset(seed=start)
    controller, total, angles = Controller(gains), 0.0, []
    for _ in range(_STEPS):
        angle = float(np.arctan2(sin, cos))
        angles.append(angle)
        torque = controller.torque(angle, float(speed))
        action = np.array([torque if np.isfinite(torque) else 0.0], np.float32)
        (cos, sin, speed), reward, *_ = environment.step(action)
        total -= float(reward)
    return total / _STEPS, np.array(angles)
