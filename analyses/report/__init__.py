"""What a merge does, on one page: `python -m analyses.report`.

One prompt answered by host, donor and merge; verifiable accuracy of the parents, of the merge at
several alphas and of merges in weights and logits; the similarity, layerwise and curvature analyses at
small size; all in one self-contained `report.html`. `python -m analyses.paper` runs every experiment of
the paper instead.
"""
