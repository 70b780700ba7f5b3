"""Workers are asked for one thread, and the process that starts them stays as it was."""

import os

from brainmass_core.pipeline.workers import SINGLE_THREAD, single_threaded


def test_the_number_of_threads_is_put_back_whether_it_was_set_or_not(monkeypatch):
    first, *others = SINGLE_THREAD
    monkeypatch.setenv(first, "3")
    for name in others:
        monkeypatch.delenv(name, raising=False)
    with single_threaded():
        assert {os.environ[name] for name in SINGLE_THREAD} == {"1"}
    assert os.environ[first] == "3"
    assert not set(others) & set(os.environ)
