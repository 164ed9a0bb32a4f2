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

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from jaxtyping import Bool
from pydantic import Field, PositiveInt, computed_field, model_validator
from torch import Tensor

from analyses.curvature_summary import gap_rank_correlations, summary_table
from analyses.layerwise import default_layers
from analyses.running.command_line import (
    Figure,
    OutputOptions,
    Tables,
    analysis_main,
    one_line_errors,
    progress,
)
from analyses.running.flat_recipe import FlatRecipe
from analyses.running.inputs import fingerprints, note_models
from analyses.running.text_choice import batches
from figures import (
    plot_curvature_by_layer,
    plot_curvature_by_token,
    plot_gap_and_bound,
    plot_tightness,
)
from lm_merge.recipes import Recipe, Source
from lm_merge.runs.record import Run
from lm_merge.scoring.teacher_forced import Texts
from lm_merge.scoring.token_curvature import TokenCurvature
from lm_merge.spaces.compose import compose_latents
from lm_merge.spaces.latents import LatentMerge

STRAIGHT = ("lerp", "regmean")


class CurvatureConfig(FlatRecipe):
    """A recipe, the blocks and alphas that stand in for its own, and the texts."""

    host: Source = Field(default="tiny-instruct", description="carries the forward pass")
    donors: tuple[Source, ...] = Field(
        default=("tiny-thinker",), description="gives the other stream; one donor"
    )
    operator: str = Field(default="lerp", description="lerp, or regmean, which equals it here")
    layers: dict[int, float] | tuple[int, ...] = Field(
        default=(), description="blocks to merge at, one at a time; none: every 5th and the last"
    )
    alphas: tuple[float, ...] = Field(
        default=(0.25, 0.5, 0.75), min_length=1, description="weights of the donor to measure"
    )
    texts: Path | None = Field(
        default=None,
        description="text file, one text a line; None: bundled questions with their right answers",
    )
    n_texts: PositiveInt = Field(default=64, description="how many texts at most")
    n_points: int = Field(
        default=16, ge=8, description="points of the segment at which the curvature is looked at"
    )
    chat: bool = Field(default=True, description="put questions into the host's chat template")
    batch_size: PositiveInt = Field(default=16, description="texts a forward pass")
    device: str | None = Field(default=None, description="torch device; None: the CPU")
    dtype: str | None = Field(default=None, description="torch dtype; None: the checkpoint's")
    seed: int = Field(default=0, description="of the bundled questions")

    @model_validator(mode="after")
    def _straight_segment(self) -> "CurvatureConfig":
        if self.space != "latents":
            raise ValueError(f"space={self.space!r}: the bound is about space 'latents'")
        if self.operator not in STRAIGHT:
            raise ValueError(
                f"operator={self.operator!r} leaves the straight segment that the bound is about; "
                f"choose from {', '.join(STRAIGHT)}"
            )
        if len(self.donors) != 1:
            raise ValueError(
                f"donors={list(self.donors)}: a segment has one donor's stream at its end; give one"
            )
        outside = [alpha for alpha in self.alphas if not 0 < alpha < 1]
        if outside:
            raise ValueError(f"alphas={outside} must lie strictly between 0 (host) and 1 (donor)")
        return self

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of the files that go in, so that a run is found again only for the same."""
        return fingerprints(self, self.texts)


def run(
    config: CurvatureConfig,
    record: Run | None = None,
    *,
    quiet: bool = True,
    merge: LatentMerge | None = None,
) -> Tables:
    """Tables "curvature" (`summary_table`), "correlations", "tokens" (each scored token, block and
    alpha: `TokenCurvature.measure`) and "strip" (the same for every token of the first text, with the
    token's words).

    merge: a merge of the pair, where the caller has composed one already.
    """
    merge = compose_pair(config) if merge is None else merge
    host = merge.host
    layers = tuple(config.layers) or default_layers(host.n_layers)
    meter = TokenCurvature(merge, layers, config.alphas, config.n_points)
    notes = [meter.no_closed_form] if meter.no_closed_form else []
    note_models(record, merge, seeds=(config.seed,), notes=notes)
    drawn = batches(host, config, n=config.n_texts)
    frames, n_texts = [], 0
    for texts in progress(drawn, "curvature", quiet=quiet):
        frames.append(meter.measure(texts, scored_columns(texts), n_texts))
        n_texts += len(texts.tokens)
    tokens = pd.concat(frames, ignore_index=True)
    tokens = tokens.assign(operator=config.operator, space="latents")
    return {
        "curvature": summary_table(tokens),
        "correlations": gap_rank_correlations(tokens),
        "tokens": tokens,
        "strip": strip(meter, drawn[0]).assign(operator=config.operator, space="latents"),
    }


def compose_pair(config: CurvatureConfig) -> LatentMerge:
    """The pair as a merge at its first block and alpha, which the measurement does not depend on."""
    given = config.recipe_fields
    given["operator_args"] = {k: v for k, v in config.operator_args.items() if k != "lambda_reg"}
    given |= {"layers": tuple(config.layers) or (0,), "alpha": config.alphas[0]}
    return compose_latents(Recipe(**given), device=config.device, dtype=config.dtype)


def scored_columns(texts: Texts) -> Bool[Tensor, "batch pos"]:
    """Columns that predict a token of the right answer; all that predict one, where none is given."""
    answers = texts.answer.roll(-1, dims=1) & texts.predicts
    return answers if bool(answers.any()) else texts.predicts


def strip(meter: TokenCurvature, texts: Texts) -> pd.DataFrame:
    """Every token of the first text of a batch: what `TokenCurvature.measure` gives, and its words."""
    n_columns = int(texts.attention_mask[0].sum())
    parts = (texts.tokens, texts.attention_mask, texts.answer)
    tokens, mask, answer = (part[:1, :n_columns] for part in parts)
    first = Texts(tokens, mask, answer, texts.prompt_end[:1])
    table = meter.measure(first, first.predicts)
    words = [meter.merge.host.tokenizer.decode(token) for token in first.tokens[0]]
    return table.assign(token=[words[position] for position in table.position])


def draw(tables: Tables) -> list[Figure]:
    """The analysis's figures, each with the table it draws."""
    table, tokens = tables["curvature"], tables["tokens"]
    return [
        ("curvature_by_layer", plot_curvature_by_layer(table), table),
        ("gap_and_bound", plot_gap_and_bound(tokens), tokens),
        ("tightness", plot_tightness(tokens), tokens),
        ("curvature_by_token", plot_curvature_by_token(tables["strip"]), tables["strip"]),
    ]


def summary(tables: Tables) -> str:
    """Curvature and tightness at the last block measured, whether the bound held, rank correlation."""
    table = tables["curvature"]
    last = table.query("layer == layer.max()")
    held = pd.Series(table.query("metric == 'holds_frac'")["value"]).dropna()
    if held.empty:
        return (
            f"blocks {', '.join(map(str, sorted(set(table.layer))))}: no token has a bound, for host "
            "and donor have the same streams wherever they would be merged"
        )
    alpha = sorted(tables["tokens"].alpha.unique())[tables["tokens"].alpha.nunique() // 2]

    def value(metric: str, statistic: str, rows: pd.DataFrame) -> float:
        found = rows.query("metric == @metric and statistic == @statistic")
        return float(found["value"].iloc[0])

    at_alpha = last.query("alpha == @alpha")
    ranks = tables["correlations"].set_index("over")
    return (
        f"block {table.layer.max()}: K_g median {value('k_g', 'median', last):.3g}, mean "
        f"{value('k_g', 'mean', last):.3g} nats per squared norm; alpha {alpha:g}: mean gap "
        f"{value('gap_nats', 'mean', at_alpha):.3f} nats (below 0 the merge gains) under a bound of "
        f"{value('bound_nats', 'mean', at_alpha):.3f}, tightness median "
        f"{value('tightness', 'median', at_alpha):.2f}, largest "
        f"{value('tightness', 'max', at_alpha):.2f}; the bound holds on {_share(held)} "
        f"at every block and alpha; rank correlation of bound and gap over blocks "
        f"and alphas {ranks.spearman['blocks and alphas']:.2f}"
    )


def _share(held: pd.Series) -> str:
    least = min(held.tolist())
    return "every token" if least == 1 else f"at least {100 * least:.1f} % of tokens"


class CurvatureOptions(CurvatureConfig, OutputOptions):
    """The configuration and where results go."""


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure (or find the finished run), draw, save, say where."""
    analysis_main(
        "curvature",
        CurvatureOptions,
        CurvatureConfig,
        argv,
        run=partial(run, quiet=False),
        draw=lambda tables, _: draw(tables),
        summary=summary,
        description=__doc__,
    )


if __name__ == "__main__":
    with one_line_errors("curvature"):
        main()
