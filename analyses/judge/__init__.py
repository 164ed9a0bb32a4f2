"""How good a judge is: `lm-merge judge`, or `python -m analyses.judge`.

A judge is an endpoint, a local model or merge, or a file of recorded judgments. It decides for
JudgeBench's pairs, in both orders, which response is better. The command reports the official accuracy
by category, with and without the pairs whose responses end in the same answer. It also reports
consistency between both orders, preference for the response shown first, ties and missing verdicts.
Intervals are 95 % by question. The judgments are written to a JSONL file in the official schema, pair
by pair. After a stop, the same command continues where it stopped.
"""
