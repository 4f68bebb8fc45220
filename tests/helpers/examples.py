"""How many examples hypothesis tries: HYPOTHESIS_PROFILE is fast, ci (the default) or thorough."""

import os

from hypothesis import settings

# Of the number of examples that a test asks for; hypothesis itself asks for 100.
SHARES = {"fast": 0.2, "ci": 1.0, "thorough": 5.0}
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
USUAL = 100
FEWEST = 10


def scaled(count: int, profile: str = PROFILE) -> int:
    """What the profile makes of `count` examples."""
    return max(FEWEST, round(count * SHARES[profile]))


def examples(count: int) -> settings:
    """Decorate a property that needs another number of examples than the usual one.

    Write `@examples(300)` instead of `@settings(max_examples=300)`, which no profile can change.
    """
    return settings(max_examples=scaled(count))


def load_profile() -> None:
    """Register the profiles with hypothesis and load the chosen one."""
    for name in SHARES:
        # How long an example takes says more about the machine than about the code.
        settings.register_profile(name, deadline=None, max_examples=scaled(USUAL, name))
    settings.load_profile(PROFILE)
