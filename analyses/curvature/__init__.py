"""How much the loss of a merge can rise, and how much it rises: `python -m analyses.curvature`.

The analysis reports for every block and alpha: the loss of the lerp merge above the line between the
losses at both ends (the gap, in nats), and the bound 1/2 alpha (1 - alpha) K_g |d - h|^2 on the gap.
K_g is computed from the exact curvature along the segment from the host's stream h to the donor's
stream d. Gap and bound are compared token by token. The loss of a token is that of the text's own next
token (teacher forcing); for the bundled questions the text is the right answer. At the last block, the
closed form for RMSNorm or LayerNorm with a linear read-out is reported, too.

Below the last block a token's loss depends on the merged streams of all earlier tokens. The segment is
then joint over the text, and |d - h|^2 is summed over the tokens up to that token. One end of the line
is the loss when the host's later blocks and head process the donor's stream. The head mismatch is the
absolute difference from the loss with the donor's own blocks and head. The bound holds for straight
segments:
for lerp, and for regmean with one donor, which equals lerp.
"""
