"""Threads by the size of the model; a user's own setting wins."""

import os
import subprocess
import sys

import pytest
import torch

from lm_merge import threads


@pytest.fixture
def set_to(monkeypatch) -> list[int]:
    """The numbers of threads that were set, from a default of 6 cores; the user has set none."""
    for name in threads.USER_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    numbers = [6]
    monkeypatch.setattr(threads, "_choice", threads._Choice())
    monkeypatch.setattr(threads, "_defaults", lambda: {6, 12})
    monkeypatch.setattr(torch, "get_num_threads", lambda: numbers[-1])
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    return numbers


def test_one_thread_until_a_large_model_comes(set_to):
    for n_parameters in (10**6, 10**9, 10**6):
        threads.fit_threads(n_parameters)
    assert set_to == [6, 1, 6, 6]


@pytest.mark.parametrize("name", threads.USER_SETTINGS)
def test_an_environment_variable_of_the_user_wins(set_to, monkeypatch, name):
    monkeypatch.setenv(name, "6")
    threads.fit_threads(10**6)
    assert set_to == [6]


def test_set_num_threads_of_the_user_wins_before_and_after(set_to):
    torch.set_num_threads(3)
    threads.fit_threads(10**6)
    assert set_to == [6, 3]
    set_to[:] = [6]
    threads.fit_threads(10**6)
    torch.set_num_threads(4)
    threads.fit_threads(10**6)
    assert set_to == [6, 1, 4]


@pytest.mark.slow
def test_torch_starts_with_one_of_the_defaults():
    code = (
        "import torch; from lm_merge import threads; "
        "assert torch.get_num_threads() in threads._defaults()"
    )
    free = {key: value for key, value in os.environ.items() if key not in threads.USER_SETTINGS}
    subprocess.run([sys.executable, "-c", code], check=True, env=free)


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_threads_wait_passively_unless_the_user_says_otherwise(given):
    code = "import os, lm_merge; print(os.environ['OMP_WAIT_POLICY'])"
    free = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    free |= {} if given is None else {"OMP_WAIT_POLICY": given}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, env=free, capture_output=True, text=True
    )
    assert done.stdout.strip() == (given or "PASSIVE")
