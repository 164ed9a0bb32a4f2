"""What the components of a language model read and do: `python -m analyses.components`.

Modules of a bundled model are decomposed (the experiment `lm_trio`), then the components with the
largest mean importance are described. Tables: "inputs" (layer, component, mean_importance, rank,
importance, activation, before, token, skill): the tokens that need a component most, in their context;
"ablation" (layer, component, skill, kl, loss_change, low, high, n): how removing the component changes
the loss on texts of each skill, in nats a token, with a 95 % interval of the loss's change over n
texts.
"""
