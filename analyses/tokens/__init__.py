"""What host, donor and merge predict next, token by token: `python -m analyses.tokens --prompt ...`.

The merge answers the prompt; then both parents and the merge read prompt and answer, and at every
position from the last prompt token on their next-token distributions stand side by side, with the
curvature of each token's loss between host and donor at the first merged block.
"""
