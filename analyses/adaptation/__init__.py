"""After how many tokens a text follows a changed context: `python -m analyses.adaptation`.

A system writes under context c0; then c1 is injected into its cache, and it goes on. Every token of
the text is scored three times: as it was written, under c0 alone, and under c1 from the start. The rows
give the adaptation index (0 as c0, 1 as c1), the log ratio of c1 to c0, and the latency in tokens until
the ratio favours c1 and stays there; texts that never do are censored at the horizon. Without options
the systems are the models of known truth: tiny-newest follows every update, tiny-oldest none, and
tiny-binder never saw one.
"""
