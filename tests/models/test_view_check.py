"""The hooked view is compared with the native one when it is built."""

import pytest
import torch
from families import FAMILIES, random_lm, random_tokens
from transformer_lens.model_bridge import sources

import lm_merge as lm
from lm_merge.models.view_check import ViewsDiffer, views_difference


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_views_of_every_family_agree_within_rounding(family, dtype):
    model = lm.wrap(random_lm(family, 0).native.to(dtype))
    difference, allowed = views_difference(model.hooked, model.native)
    assert difference <= allowed


def test_a_bridge_that_is_wrong_is_reported_once_and_refused_where_it_counts(monkeypatch):
    build = sources.build_bridge_from_module

    def wrong(*arguments: object, **keywords: object) -> object:
        bridge = build(*arguments, **keywords)
        bridge.register_forward_hook(lambda module, inputs, output: output + 3.0)
        return bridge

    monkeypatch.setattr(sources, "build_bridge_from_module", wrong)
    host, donor = random_lm("qwen2", 0), random_lm("qwen2", 1)
    with pytest.warns(ViewsDiffer, match="differs from the native one by up to 3 in its logits"):
        _ = host.hooked
    _ = host.hooked  # no second warning
    merge = lm.LatentMerge(host, donor, layers=[1], alpha=0.5)
    with pytest.raises(ValueError, match="run_with_cache of a merge reads the hooked view, and"):
        merge.run_with_cache(random_tokens(1, 4))
    merge(random_tokens(1, 4))  # the native view is as good as ever
