"""Landing: the learning rate goes to almost nothing over the next steps."""

LANDED = 0.01
"""The share of the rate that landing ends at."""


def landing_factor(step: int, begin: int, steps: int) -> float:
    """What multiplies the rate at `step` of a landing over `steps` steps from `begin` on; 1 where there is none."""
    if not steps:
        return 1.0
    done = min(1.0, max(0.0, (step - begin) / steps))
    return max(LANDED, 1.0 - (1.0 - LANDED) * done)
