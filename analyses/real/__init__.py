"""The project's questions on a real pair: a 135M chat model and LoRA adapters of it (`make real`).

Host: the base. Donor: the base with an adapter that solves word problems step by step. How much of
that skill do merges in every space take over, at what cost to the host's chat (`skill_transfer`); then
`similarity`, `layerwise` and `curvature` of the same pair; then the three adapters for intents in
English, French and German, merged, on these languages and on three that none of them was trained on
(`adapters`). Every experiment is a run of its own, found again when it has finished. Figures, tables
and `summary.json` (the rows of each analysis with the key experiment) go to the folder of `--export`.
"""
