"""Counts the faults that the tests inject, and prints them in the end: what the README's table says."""

from collections import Counter

import pytest

FAULTS = pytest.StashKey[Counter]()


def pytest_configure(config):
    config.stash[FAULTS] = Counter()


@pytest.fixture
def injected(request):
    """A function: (family, number) -> nothing; a test says so once it has found that nothing was lost."""
    return lambda family, number: request.config.stash[FAULTS].update({family: number})


def pytest_terminal_summary(terminalreporter, config):
    counts = config.stash[FAULTS]
    if counts and not terminalreporter.stats.get("failed"):
        terminalreporter.section("faults injected, nothing lost")
        for family, number in sorted(counts.items()):
            terminalreporter.write_line(f"{number:6,}  {family}")
