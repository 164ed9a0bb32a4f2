"""How good a judge is: `lm-merge judge`, or `python -m analyses.judge`.

A judge (an endpoint, a model or merge that runs here, or a recorded one) says for JudgeBench's
pairs, in both orders, which response is better. Gives the official accuracy by category, with and
without the pairs whose responses end in the same answer, and what a judge does besides: consistency,
favour for the response shown first, ties, missing verdicts; with 95 % intervals by question. The
judgments go into a JSONL file in the official schema, pair by pair: after a stop the same command
goes on where it ended.
"""
