"""Who asks, as the `by` of a command and of its answer says it. Other terminals and scripts have names of their own."""

PERSON = "you"
"""Whoever sits at a cockpit."""
GUARD = "guard"
ADVISOR = "advisor"
"""What keeps an automatic clip where the norms advise."""
BUDGET = "budget"
"""What keeps the last step where the minutes end."""
RACE = "race"
"""What trains an arm of a race."""
AUTOMATIC = (GUARD, ADVISOR, BUDGET, RACE)
"""The program itself."""
