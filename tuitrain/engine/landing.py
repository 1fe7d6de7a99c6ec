"""Landing: the learning rate decays to almost zero over the next steps."""

LANDED = 0.01
"""The factor of the rate at the end of a landing."""


def landing_factor(step: int, begin: int, steps: int) -> float:
    """Return the factor of the rate at `step` of a landing over `steps` steps from `begin`; 1 if `steps` is 0."""
    if not steps:
        return 1.0
    done = min(1.0, max(0.0, (step - begin) / steps))
    return max(LANDED, 1.0 - (1.0 - LANDED) * done)
