"""How much a merge's loss can rise, and does: `python -m analyses.curvature`.

For every block and alpha: the loss of the lerp merge above the line between both ends (the gap, in
nats), the bound 1/2 alpha (1 - alpha) K_g |d - h|^2 on it from the exact curvature along the segment
from the host's stream to the donor's, and how the two compare token by token. Teacher-forced: the
loss of a token is that of the text's own next token, for the bundled questions of their right answers.
At the last block also the closed form for RMSNorm or LayerNorm with a linear read-out.

Below the last block a token's loss depends on the merged streams of all earlier tokens; the segment
is then joint over the text and |d - h|^2 is summed over the tokens up to it. The donor's stream read
on by the host is one end of the line; what the donor's own blocks and head would lose instead is the
head mismatch. The bound is about straight segments: lerp, and regmean with one donor, which equals it.
"""
