"""Counts the faults that the tests inject, and prints them in the end: what the README's table says."""

import shutil
import signal
from collections import Counter

import pytest

FAULTS = pytest.StashKey[Counter]()


def pytest_configure(config):
    config.stash[FAULTS] = Counter()


@pytest.fixture
def injected(request):
    """A function: (family, number) -> nothing; a test says so once it has found that nothing was lost."""
    return lambda family, number: request.config.stash[FAULTS].update({family: number})


@pytest.fixture
def at_once():
    """Ends a test that waits."""

    def end(*_):
        pytest.fail("it waits")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def prepared_while(phantom_source, tmp_path, monkeypatch):
    """A function that prepares 60 scans, of which something happens to the source once 20 were read.

    It takes what happens, a function of the source and the scans read, and the words of the refusal; nothing stays of
    the dataset. It returns the source and the dataset's folder.
    """
    from lungkeras.preparation import prepare, reading
    from lungkeras.system.errors import SourceError

    source, to = tmp_path / "source", tmp_path / "prepared" / "pneumonia"

    def refused(happens, words: str):
        shutil.copytree(phantom_source("pneumonia"), source)
        steps, read = reading.preparation_steps, []

        def read_on(path, size, *decode):
            read.append(path)
            if len(read) == 20:
                happens(source, read)
            return steps(path, size, *decode)

        with monkeypatch.context() as patch:
            patch.setattr(reading, "preparation_steps", read_on)
            with pytest.raises(SourceError, match=words):
                prepare.prepare_dataset("pneumonia", source, to, size=16, workers=1)
        assert not list(to.parent.iterdir())
        return source, to

    return refused


def pytest_terminal_summary(terminalreporter, config):
    counts = config.stash[FAULTS]
    if counts and not terminalreporter.stats.get("failed"):
        terminalreporter.section("faults injected, nothing lost")
        for family, number in sorted(counts.items()):
            terminalreporter.write_line(f"{number:6,}  {family}")
