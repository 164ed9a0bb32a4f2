import numpy as np
import pandas as pd
import pytest

from figures import (
    plot_best_by_trial,
    plot_recoveries_by_trial,
    plot_recovery_by_task,
    plot_recovery_sensitivity,
)


def test_recovery_by_task_counts_examples_and_leaves_undefined_ones_without_a_mark():
    table = pd.DataFrame(
        {
            "task": ["sums", "differences"],
            "metric": "accuracy",
            "base": 0.0,
            "expert": [1.0, 0.0],
            "merged": [0.4, 0.1],
            "recovery": [0.4, np.nan],
            "n": [50, 60],
            "low": [0.3, np.nan],
            "high": [0.55, np.nan],
            "split": "test",
        }
    )
    figure = plot_recovery_by_task(table)
    assert "n = 50–60 examples a task, test" in figure.layout.title.subtitle.text
    (trace,) = figure.data
    assert list(trace.y) == ["sums", "differences"]
    assert trace.error_x.array == pytest.approx((0.15, 0.0))
    assert {line.x0 for line in figure.layout.shapes} == {0, 1}  # base and expert


def test_sensitivity_has_a_map_a_task_on_one_scale_about_zero():
    rows = [
        {"task": task, "group": f"block {block}", "source": source, "value": value, "n": 8}
        for task in ("a", "b")
        for block in (0, 1)
        for source, value in (("a", 0.5 + block), ("b", -0.2))
    ]
    figure = plot_recovery_sensitivity(pd.DataFrame(rows))
    assert len(figure.data) == 2
    assert figure.layout.coloraxis.cmid == 0
    assert list(figure.data[0].x) == ["0", "1"]
    assert np.asarray(figure.data[0].z).tolist() == [[0.5, 1.5], [-0.2, -0.2]]


def test_trials_show_the_best_so_far_and_leave_failed_ones_out():
    table = pd.DataFrame(
        {
            "trial": [-1, 0, 1, 2, 3],
            "score": [0.2, 0.1, np.nan, 0.5, 0.3],
            "status": ["finished", "finished", "failed", "finished", "finished"],
            "warm": [True, False, False, False, False],
        }
    )
    figure = plot_best_by_trial(table)
    assert list(figure.data[0].x) == [0, 2, 3]
    assert list(figure.data[1].y) == [0.2, 0.5, 0.5]  # what was known before counts
    assert "n = 4 trials, 1 failed · 1 known before" in figure.layout.title.subtitle.text


def test_the_worst_task_of_every_trial_is_the_line():
    rows = [
        {"trial": trial, "task": task, "recovery": value}
        for trial, values in enumerate([(0.5, 0.1), (0.3, 0.4)])
        for task, value in zip(("a", "b"), values, strict=True)
    ]
    figure = plot_recoveries_by_trial(pd.DataFrame(rows))
    assert [trace.name for trace in figure.data] == ["a", "b", "worst task"]
    assert list(figure.data[2].y) == [0.1, 0.3]
