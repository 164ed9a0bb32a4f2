"""One question each: `python -m analyses.<name>`; `python -m analyses` lists them."""

import lm_merge  # noqa: F401 # before torch: how threads wait is read when torch is imported

ANALYSES = {
    "adaptation": "analyses.adaptation",
    "adapter_search": "analyses.adapter_search",
    "adapters": "analyses.adapters",
    "comparison": "analyses.comparison",
    "curvature": "analyses.curvature",
    "decomposition": "analyses.decomposition",
    "judge": "analyses.judge",
    "layerwise": "analyses.layerwise",
    "report": "analyses.report",
    "similarity": "analyses.similarity",
    "skill_transfer": "analyses.skill_transfer",
    "spaces": "analyses.spaces",
    "tokens": "analyses.tokens",
}
