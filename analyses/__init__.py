"""One question each: `python -m analyses.<name>`; `python -m analyses` lists them."""

import lm_merge  # noqa: F401 # before torch: how threads wait is read when torch is imported

ANALYSES = {
    "adaptation": "analyses.adaptation",
    "adapter_search": "analyses.adapter_search",
    "adapters": "analyses.adapters",
    "comparison": "analyses.comparison",
    "component_merge": "analyses.component_merge",
    "components": "analyses.components",
    "curvature": "analyses.curvature",
    "decomposition": "analyses.decomposition",
    "encoder_check": "analyses.encoder_check",
    "finetune": "analyses.finetune",
    "judge": "analyses.judge",
    "languages": "analyses.languages",
    "layerwise": "analyses.layerwise",
    "report": "analyses.report",
    "results_summary": "analyses.results_summary",
    "rounds": "analyses.rounds",
    "similarity": "analyses.similarity",
    "similarity_merging": "analyses.similarity_merging",
    "skill_transfer": "analyses.skill_transfer",
    "spaces": "analyses.spaces",
    "tokens": "analyses.tokens",
    "transfer_matrix": "analyses.transfer_matrix",
}
