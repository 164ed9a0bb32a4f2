"""Recovery against divergence: one line a merge's kind, its points labelled, its intervals drawn."""

import pandas as pd
import pytest

from figures import plot_skill_and_cost


def merge(space: str, operator: str, layer: float | None, alpha: float, recovery: float) -> dict:
    return {
        **{"space": space, "operator": operator, "layer": layer, "alpha": alpha},
        **{"recovery": recovery, "recovery_low": recovery - 0.2, "recovery_high": recovery + 0.1},
        **{"kl_host": 2 * recovery, "kl_host_low": float("nan"), "kl_host_high": float("nan")},
        **{"recovery_n": 100, "kl_host_n": 640},
    }


def test_a_line_a_block_and_operator_with_labelled_points_in_order_of_alpha():
    rows = [
        merge("latents", "slerp", 29, 0.7, 0.9),
        merge("latents", "slerp", 29, 0.5, 0.8),
        merge("logits", "soft", None, 0.5, 0.6),
    ]
    figure = plot_skill_and_cost(pd.DataFrame(rows))
    slerp, soft = figure.data
    assert (slerp.name, soft.name) == ("latents slerp, block 29", "logits soft")
    assert list(slerp.text) == ["29: 0.5", "29: 0.7"]
    assert list(slerp.x) == pytest.approx([1.6, 1.8])
    assert list(slerp.error_y.arrayminus) == pytest.approx([0.2, 0.2])
    assert list(slerp.error_x.array) == [0, 0]  # no interval, no bar
    assert "n = 100 questions" in figure.layout.title.subtitle.text
