"""What fuzzing has found to be worth keeping: every input of the corpus, on its target."""

from __future__ import annotations

import pytest

from tests.fuzz.corpus import read_corpus
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_every_kept_input_is_refused_or_understood(target: str) -> None:
    """No input gets anything else than what its target permits; there are some for each."""
    inputs = read_corpus(target)
    assert inputs
    for one in inputs:
        TARGETS[target](one)
