"""The running means that judge a restore point: one arithmetic for a model of ours and for somebody's own loop."""

import numpy as np
import pytest

from tuitrain.engine.progress import Progress


def absorbed(progress: Progress, losses: list[float]) -> Progress:
    values = np.array(losses, dtype=np.float32)
    progress.step += len(values)
    progress.absorb(values, np.isfinite(values))
    return progress


def test_the_smoothed_loss_is_that_of_about_fifty_steps_and_its_best_counts_from_there() -> None:
    progress = absorbed(Progress(), [4.0])
    assert progress.smooth_loss == 4.0 and progress.best_smooth == float("inf")
    absorbed(progress, [2.0] * 300)
    assert progress.smooth_loss == pytest.approx(2.0, abs=0.01) == progress.best_smooth and progress.healthy


def test_steps_that_are_not_finite_do_not_enter_the_mean_and_no_point_is_healthy_at_them() -> None:
    progress = absorbed(Progress(), [2.0] * 60)
    absorbed(progress, [float("nan"), float("inf")])
    assert progress.smooth_loss == 2.0 and progress.not_finite == 2 and not progress.healthy
    assert absorbed(progress, [2.0]).healthy


def test_far_above_its_best_it_is_not_healthy() -> None:
    assert not absorbed(absorbed(Progress(), [2.0] * 60), [6.0] * 20).healthy


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_loss_of_any_scale_is_healthy_within_its_own_spread_and_not_beyond(scale: float) -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.05, 400)
    progress = absorbed(Progress(in_nats=False), list(scale * (1 + noise)))
    assert progress.healthy
    absorbed(progress, [1.5 * scale] * 100)
    assert not progress.healthy


def test_a_loss_around_zero_is_healthy_within_its_spread() -> None:
    noise = np.random.default_rng(0).normal(0.0, 1.0, 2000)
    assert absorbed(Progress(in_nats=False), list(noise)).healthy
