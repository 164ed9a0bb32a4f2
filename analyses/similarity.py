"""How the merged stream lies between host and donor, block by block: `python -m analyses.similarity`.

Both parents and the merge, which may be one of latents or of weights, read the same prompts. For every
block and alpha: midness, arc ratio and arc deviation of the merged stream (per token, then averaged),
and linear CKA of each two streams, rows being tokens: debiased over all texts (minibatch U-statistic),
and biased within each text, then averaged, which is the published form. Experiment B of the
latent-merging paper (OpenReview ocEoHCrezd); `python -m analyses.spaces` sets the spaces side by side.
"""

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field, PositiveInt, computed_field, model_validator
from sklearn.decomposition import PCA
from torch import Tensor

from analyses.command_line import (
    Figure,
    OutputOptions,
    Tables,
    config_in,
    one_line_errors,
    parse_config,
    progress,
    run_and_draw,
)
from analyses.compositions import Compositions, compositions, compositions_of
from analyses.inputs import fingerprints
from figures import (
    plot_arc_ratio_by_alpha,
    plot_layers_by_alpha,
    plot_residual_paths,
    plot_residual_paths_3d,
    plot_similarity_by_layer,
)
from lm_merge.evaluation import question_set
from lm_merge.generation import EncodedPrompts
from lm_merge.metrics import (
    ClusteredMean,
    MinibatchCKA,
    arc_deviation_rad,
    arc_ratio,
    cka_within_texts,
    midness,
)
from lm_merge.models import HookedLM, record_resid_post
from lm_merge.recipe import Recipe, Source
from lm_merge.records import Run
from lm_merge.spaces.latents import LatentMerge
from lm_merge.spaces.positions import last_real

ARC_METRICS = {
    "midness": midness,
    "arc_ratio": arc_ratio,
    "arc_deviation_rad": arc_deviation_rad,
}
CKA_PAIRS = (("host", "donor"), ("host", "merged"), ("donor", "merged"))
CKA_KINDS = ("debiased", "biased")
N_CATEGORIES = 4
DEFAULT_LAYERS = (3,)


class SimilarityConfig(Recipe):
    """A recipe and on what to measure it; any recipe file serves as `--config`."""

    host: Source = Field(default="tiny-instruct", description="carries the forward pass")
    donors: tuple[Source, ...] = Field(
        default=("tiny-thinker",), description="give the other streams; similarity is to the first"
    )
    layers: dict[int, float] | tuple[int, ...] | None = Field(
        default=None,
        description="latents: blocks whose resid_post is merged, from 0; None: block 3",
    )
    alphas: tuple[float, ...] = Field(
        default=(0.25, 0.5, 0.75),
        min_length=1,
        description="weights of the donors to measure; stand in for the recipe's alpha",
    )
    prompts: Path | None = Field(
        default=None, description="text file, one prompt a line; None: the bundled questions"
    )
    n_prompts: PositiveInt = Field(default=128, description="how many prompts at most")
    chat: bool = Field(default=True, description="put prompts into the host's chat template")
    batch_size: PositiveInt = Field(default=16, description="prompts a forward pass")
    device: str | None = Field(default=None, description="torch device; None: the CPU")
    dtype: str | None = Field(default=None, description="torch dtype; None: the checkpoint's")
    seed: int = Field(default=0, description="of the bundled questions")

    @model_validator(mode="before")
    @classmethod
    def _default_layers(cls, given: Any) -> Any:
        in_latents = isinstance(given, dict) and given.get("space", "latents") == "latents"
        if in_latents and given.get("layers") is None:
            return {**given, "layers": DEFAULT_LAYERS}
        return given

    @computed_field
    @property
    def inputs(self) -> dict[str, str | None]:
        """Fingerprints of the files that go in, so that a run is found again only for the same."""
        return fingerprints(self, self.prompts)


class StreamComparison:
    """Accumulates, batch by batch, all that is measured of a merge at several alphas.

    Memory stays flat in the number of tokens: per block and stream a few hundred rows, which wait
    for their `MinibatchCKA` group.
    """

    def __init__(self, n_layers: int, alphas: Sequence[float]) -> None:
        self.n_layers, self.alphas = n_layers, tuple(alphas)
        keys = [(alpha, name) for alpha in self.alphas for name in ARC_METRICS]
        self.arcs = {key: [ClusteredMean() for _ in range(n_layers)] for key in keys}
        self.pairs = [("host", "donor")]
        self.pairs += [(one, merged_name(a)) for a in self.alphas for one in ("host", "donor")]
        self.ckas = [MinibatchCKA(self.pairs) for _ in range(n_layers)]
        self.within = {pair: [ClusteredMean() for _ in range(n_layers)] for pair in self.pairs}

    def update(self, streams: dict[str, Tensor], tokens: Tensor) -> None:
        """Add streams [n_layers, batch, pos, d_model] by name, at chosen tokens."""
        for (alpha, name), means in self.arcs.items():
            for layer, mean in enumerate(means):
                host, donor = streams["host"][layer], streams["donor"][layer]
                values = ARC_METRICS[name](host, donor, streams[merged_name(alpha)][layer])
                mean.update(values.squeeze(-1).masked_fill(~tokens, torch.nan))
        for layer, cka in enumerate(self.ckas):
            cka.update({name: states[layer][tokens] for name, states in streams.items()})
            of_block = {name: states[layer] for name, states in streams.items()}
            for pair, values in cka_within_texts(of_block, tokens, self.pairs).items():
                self.within[pair][layer].update(values)

    def rows(self) -> Iterable[dict[str, object]]:
        """Tidy rows: alpha, layer, metric, value, standard_error, n (tokens; biased CKA: texts)."""
        for (alpha, name), means in self.arcs.items():
            for layer, mean in enumerate(means):
                result = mean.result()
                error = result.standard_error
                yield _row(alpha, layer, name, result.value, error, result.n)
        for layer, fitter in enumerate(self.ckas):
            results = fitter.results()
            for alpha in self.alphas:
                for one, other in CKA_PAIRS:
                    pair = one, merged_name(alpha) if other == "merged" else other
                    cka, within = results[pair], self.within[pair][layer].result()
                    debiased, biased = (f"cka_{kind}_{one}_{other}" for kind in CKA_KINDS)
                    error = cka.standard_error
                    yield _row(alpha, layer, debiased, cka.value, error, cka.n_rows)
                    error = within.standard_error
                    yield _row(alpha, layer, biased, within.value, error, within.n)


def merged_name(alpha: float) -> str:
    """Name of the merged stream at an alpha."""
    return f"merged {alpha:g}"


def _row(
    alpha: float, layer: int, metric: str, value: float, error: float, n: int
) -> dict[str, object]:
    return {
        "alpha": alpha,
        "layer": layer,
        "metric": metric,
        "value": value,
        "standard_error": error,
        "n": n,
    }


class MeanPaths:
    """Accumulates the mean stream of each model over all tokens, by block."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.n_tokens: dict[str, int] = {}

    def update(self, stream: str, states: Tensor, tokens: Tensor) -> None:
        """Add states [n_layers, batch, pos, d_model] at chosen tokens."""
        total = (states * tokens.unsqueeze(-1)).sum(dim=(1, 2)).double().cpu()
        self.sums[stream] = self.sums.get(stream, torch.zeros_like(total)) + total
        self.n_tokens[stream] = self.n_tokens.get(stream, 0) + int(tokens.sum())

    def table(self) -> pd.DataFrame:
        """The paths in their common principal space: stream, layer, pc1 to pc3, explained shares."""
        means = {key: (total / self.n_tokens[key]).numpy() for key, total in self.sums.items()}
        space = PCA(n_components=3).fit(np.concatenate(list(means.values())))
        rows = [
            {"stream": key, "layer": layer, "pc1": float(x), "pc2": float(y), "pc3": float(z)}
            for key, path in means.items()
            for layer, (x, y, z) in enumerate(space.transform(path))
        ]
        explained = {
            f"explained_frac_{number}": float(share)
            for number, share in enumerate(space.explained_variance_ratio_, start=1)
        }
        return pd.DataFrame(rows).assign(**explained)


def recipe_of(config: SimilarityConfig) -> Recipe:
    """The recipe in a configuration, at the first of its alphas."""
    given = {key: getattr(config, key) for key in Recipe.model_fields}
    # lambda_reg is another way to give alpha, which the alphas to measure stand in for
    given["operator_args"] = {k: v for k, v in config.operator_args.items() if k != "lambda_reg"}
    layers = None if config.layers is None else tuple(config.layers)
    return Recipe(**given | {"layers": layers, "alpha": config.alphas[0]})


def run(
    config: SimilarityConfig,
    record: Run | None = None,
    *,
    quiet: bool = True,
    merge: LatentMerge | None = None,
) -> Tables:
    """Tables "similarity" (layer, alpha, operator, space, metric, value, standard_error, n) and "paths".

    merge: the recipe's merge, where the caller has composed it already.
    """
    if config.space == "logits":
        raise ValueError(
            "space='logits' has no merged stream: every model keeps its own, only what they say becomes "
            "one; python -m analyses.spaces compares what the spaces say"
        )
    if merge is None:
        options = {"device": config.device, "dtype": config.dtype}
        merged = compositions(recipe_of(config), config.alphas, **options)
    else:
        merged = compositions_of(merge, config.alphas)
    if record is not None:
        record.update(
            device=str(merged.host.device),
            dtype=str(merged.host.dtype).removeprefix("torch."),
            models=merged.models,
            seeds=(config.seed,),
            notes=merged.notes,
        )
    return measure(merged, prompt_batches(merged.host, config), quiet=quiet)


def measure(
    merges: Compositions, batches: Sequence[EncodedPrompts], *, quiet: bool = True
) -> Tables:
    """The tables of `run` for the merges of one recipe, on prompts in batches."""
    host, recipe = merges.host, merges.recipe
    comparison = StreamComparison(host.n_layers, tuple(merges.at))
    paths = MeanPaths()
    for batch in progress(batches, "similarity", quiet=quiet):
        assert batch.attention_mask is not None  # texts always come with one
        mask = batch.attention_mask
        tokens = last_real(mask, mask.bool()) if recipe.positions == "last" else mask.bool()
        record = partial(_record, tokens=batch.input_ids, mask=mask)
        streams = {"host": record(host), "donor": record(merges.donor).to(host.device)}
        for alpha, entered in merges.at.items():
            with entered() as speaker:
                streams[merged_name(alpha)] = record(speaker).to(host.device)
        comparison.update(streams, tokens)
        for name, states in streams.items():
            paths.update(name, states, tokens)
    similarity = pd.DataFrame(list(comparison.rows()))
    similarity = similarity.assign(operator=recipe.operator, space=recipe.space)
    return {"similarity": similarity, "paths": paths.table()}


def _record(model: object, tokens: Tensor, mask: Tensor) -> Tensor:
    return record_resid_post(model, tokens, mask).float()  # pyright: ignore[reportArgumentType]


def prompt_batches(host: HookedLM, config: SimilarityConfig) -> list[EncodedPrompts]:
    """The configuration's prompts, encoded by the host, in batches."""
    if config.prompts is None:
        per_category = -(-config.n_prompts // N_CATEGORIES)
        by_category = [question.prompt for question in question_set(per_category, seed=config.seed)]
        # one of each category in turn, so that every batch holds all four
        prompts = [
            by_category[c * per_category + i]
            for i in range(per_category)
            for c in range(N_CATEGORIES)
        ]
    else:
        prompts = [line for line in config.prompts.read_text().splitlines() if line.strip()]
        if not prompts:
            raise ValueError(f"prompts={config.prompts} holds no line of text")
    prompts = prompts[: config.n_prompts]
    return [
        host.to_tokens(prompts[start : start + config.batch_size], chat=config.chat)
        for start in range(0, len(prompts), config.batch_size)
    ]


def draw(tables: Tables, merged_layers: Sequence[int]) -> list[Figure]:
    """The analysis's figures, each with the table it draws."""
    similarity, paths = tables["similarity"], tables["paths"]
    by_layer = plot_similarity_by_layer(similarity, merged_layers=merged_layers)
    return [
        ("similarity_by_layer", by_layer, similarity),
        ("arc_ratio_by_alpha", plot_arc_ratio_by_alpha(similarity), similarity),
        ("residual_paths", plot_residual_paths(paths), paths),
        ("residual_paths_3d", plot_residual_paths_3d(paths), paths),
        ("midness_by_layer", plot_layers_by_alpha(similarity, "midness"), similarity),
    ]


class SimilarityOptions(SimilarityConfig, OutputOptions):
    """The configuration and where results go."""


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure (or find the finished run), draw, save, say where."""
    options, given = parse_config(
        SimilarityOptions, argv, prog="python -m analyses.similarity", description=__doc__ or ""
    )
    config = config_in(options, SimilarityConfig)
    folder, tables = run_and_draw(
        "similarity",
        config,
        given,
        output=options,
        run=partial(run, quiet=False),
        draw=partial(draw, merged_layers=tuple(config.layers or ())),
    )
    sys.stdout.write(f"{summary(tables['similarity'])}\ntables and figures: {folder}\n")


def summary(similarity: pd.DataFrame) -> str:
    """One line: where the merge lies at the last block, at the middle alpha measured."""
    alpha = sorted(similarity.alpha.unique())[similarity.alpha.nunique() // 2]
    last = similarity[(similarity.layer == similarity.layer.max()) & (similarity.alpha == alpha)]
    value = last.set_index("metric").value
    return (
        f"last block, alpha {alpha:g}: midness {value['midness']:.3f}, "
        f"arc ratio {value['arc_ratio']:.3f}, "
        f"debiased CKA host-merged {value['cka_debiased_host_merged']:.3f}, "
        f"donor-merged {value['cka_debiased_donor_merged']:.3f}, "
        f"host-donor {value['cka_debiased_host_donor']:.3f}"
    )


if __name__ == "__main__":
    with one_line_errors("similarity"):
        main()
