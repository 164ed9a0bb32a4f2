"""One question each: `python -m analyses.<name>`; `python -m analyses` lists them."""

ANALYSES = {
    "comparison": "analyses.comparison",
    "curvature": "analyses.curvature",
    "judge": "analyses.judge",
    "layerwise": "analyses.layerwise",
    "report": "analyses.report",
    "similarity": "analyses.similarity",
    "spaces": "analyses.spaces",
    "tokens": "analyses.tokens",
}
