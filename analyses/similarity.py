"""How the merged stream lies between host and donor, block by block: `python -m analyses.similarity`.

Both parents and the merge read the same prompts; beside it stand merges of the same models in other
spaces (`--beside '[weights:lerp, logits:soft]'`). For every block and alpha: midness, arc ratio and arc
deviation of the merged stream (per token, then averaged), and linear CKA of each two streams, rows being
tokens: debiased over all texts (minibatch U-statistic), and biased within each text, then averaged,
which is the published form. An ensemble of logits has no merged stream; for every space, table "output"
says how far the next-token distributions lie from the parents' (KL and Jensen-Shannon divergence, nats).
Experiment B of the latent-merging paper (OpenReview ocEoHCrezd); `python -m analyses.spaces` does it for
several operators and says whether it comes out as published.
"""

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

from analyses.beside import ComparedRecipe
from analyses.compositions import Compositions, compositions, compositions_of
from analyses.output_divergence import output_table
from analyses.running.command_line import (
    Figure,
    OutputOptions,
    Tables,
    analysis_main,
    one_line_errors,
    progress,
)
from analyses.running.inputs import fingerprints, note_models
from analyses.running.text_choice import in_parts, lines_of, questions_in_turn
from figures import (
    plot_arc_ratio_by_alpha,
    plot_layers_by_alpha,
    plot_output_divergence,
    plot_residual_paths,
    plot_residual_paths_3d,
    plot_similarity_by_layer,
)
from lm_merge.generation import EncodedPrompts
from lm_merge.metrics import (
    MinibatchCKA,
    arc_deviation_rad,
    arc_ratio,
    cka_within_texts,
    midness,
)
from lm_merge.models import HookedLM
from lm_merge.recipes import Recipe, Source
from lm_merge.runs.record import Run
from lm_merge.sites import record_resid_post
from lm_merge.spaces.latents import LatentMerge
from lm_merge.spaces.latents.merged_positions import last_real
from lm_merge.statistics.clustered_means import ClusteredMean

ARC_METRICS = {
    "midness": midness,
    "arc_ratio": arc_ratio,
    "arc_deviation_rad": arc_deviation_rad,
}
CKA_PAIRS = (("host", "donor"), ("host", "merged"), ("donor", "merged"))
CKA_KINDS = ("debiased", "biased")
DEFAULT_LAYERS = (3,)
USUAL_BESIDE = ("weights:lerp", "weights:slerp", "logits:soft")


class SimilarityConfig(ComparedRecipe):
    """A recipe and on what to measure it; any recipe file serves as `--config`."""

    host: Source = Field(default="tiny-instruct", description="carries the forward pass")
    donors: tuple[Source, ...] = Field(
        default=("tiny-thinker",), description="give the other streams; similarity is to the first"
    )
    layers: dict[int, float] | tuple[int, ...] | None = Field(
        default=None,
        description="latents: blocks whose resid_post is merged, from 0; None: block 3",
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
        """Tidy rows: alpha, layer, metric, and value to n (tokens; biased CKA: texts) of `Mean.row`."""
        for (alpha, name), means in self.arcs.items():
            for layer, mean in enumerate(means):
                yield _place(alpha, layer, name) | mean.result().row()
        for layer, fitter in enumerate(self.ckas):
            results = fitter.results()
            for alpha in self.alphas:
                for one, other in CKA_PAIRS:
                    pair = one, merged_name(alpha) if other == "merged" else other
                    debiased, biased = (f"cka_{kind}_{one}_{other}" for kind in CKA_KINDS)
                    yield _place(alpha, layer, debiased) | results[pair].row()
                    yield _place(alpha, layer, biased) | self.within[pair][layer].result().row()


def merged_name(alpha: float) -> str:
    """Name of the merged stream at an alpha."""
    return f"merged {alpha:g}"


def _place(alpha: float, layer: int, metric: str) -> dict[str, object]:
    return {"alpha": alpha, "layer": layer, "metric": metric}


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
    given = config.recipe_fields
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
    """Tables "similarity" (layer, alpha, operator, space, metric, value, standard_error, low, high,
    n), "output" (as in analyses.output_divergence), and "paths" of the recipe's own merge.

    merge: the recipe's merge, where the caller has composed it already.
    """
    options: dict[str, Any] = {"device": config.device, "dtype": config.dtype}
    beside = config.recipes_beside(USUAL_BESIDE)
    if merge is None:
        own = compositions(recipe_of(config), config.alphas, **options)
    else:
        own = compositions_of(merge, config.alphas)
    note_models(record, own, seeds=(config.seed,))
    batches = prompt_batches(own.host, config)
    tables = tables_of(own, batches, quiet=quiet)
    found = [tables]
    for recipe in beside:
        merges = compositions(recipe, config.alphas, **options, loaded=(own.host, own.donor))
        found.append(tables_of(merges, batches, quiet=quiet))
    return tables | side_by_side(found)


def tables_of(
    merges: Compositions, batches: Sequence[EncodedPrompts], *, quiet: bool = True
) -> Tables:
    """Table "output" for the merges of one recipe; those of `measure` if there is a merged stream."""
    streams = measure(merges, batches, quiet=quiet) if merges.has_stream else {}
    return streams | {"output": output_table(merges, batches)}


def side_by_side(found: Sequence[Tables]) -> Tables:
    """Tables "similarity" and "output" of several recipes as one each; absent where none has it."""
    return {
        name: pd.concat([tables[name] for tables in found if name in tables], ignore_index=True)
        for name in ("similarity", "output")
        if any(name in tables for tables in found)
    }


def measure(
    merges: Compositions, batches: Sequence[EncodedPrompts], *, quiet: bool = True
) -> Tables:
    """Tables "similarity" and "paths" for the merges of one recipe that has a merged stream."""
    host, recipe = merges.host, merges.recipe
    comparison = StreamComparison(host.n_layers, tuple(merges.at))
    paths = MeanPaths()
    for batch in progress(batches, f"similarity, {recipe.space} {recipe.operator}", quiet=quiet):
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
        questions = questions_in_turn(config.n_prompts, config.seed)
        prompts = [question.prompt for question in questions]
    else:
        prompts = lines_of(config.prompts, "prompts")[: config.n_prompts]
    return [host.to_tokens(part, chat=config.chat) for part in in_parts(prompts, config.batch_size)]


def draw(tables: Tables, merged_layers: Sequence[int]) -> list[Figure]:
    """The analysis's figures, each with the table it draws; several merges at the middle alpha."""
    figures: list[Figure] = []
    if "similarity" in tables:
        similarity = tables["similarity"]
        own = of_first_merge(similarity)
        by_layer = plot_similarity_by_layer(own, merged_layers=merged_layers)
        figures += [
            ("similarity_by_layer", by_layer, own),
            ("arc_ratio_by_alpha", plot_arc_ratio_by_alpha(own), own),
            ("midness_by_layer", plot_layers_by_alpha(own, "midness"), own),
        ]
        if len(own) < len(similarity):
            shown = similarity.loc[similarity.alpha == middle(similarity.alpha.unique())]
            by_space = plot_similarity_by_layer(shown, merged_layers=merged_layers)
            figures.append(("similarity_by_space", by_space, shown))
    if "paths" in tables:
        paths = tables["paths"]
        figures += [
            ("residual_paths", plot_residual_paths(paths), paths),
            ("residual_paths_3d", plot_residual_paths_3d(paths), paths),
        ]
    output = tables["output"]
    return [*figures, ("output_divergence_by_space", plot_output_divergence(output), output)]


def of_first_merge(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the recipe's own merge, which come first."""
    first = table.iloc[0]
    own = table.loc[(table.space == first.space) & (table.operator == first.operator)]
    assert isinstance(own, pd.DataFrame)
    return own


def middle(alphas: Sequence[float]) -> float:
    """The middle one of the alphas in rising order."""
    return sorted(alphas)[len(alphas) // 2]


class SimilarityOptions(SimilarityConfig, OutputOptions):
    """The configuration and where results go."""


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: measure (or find the finished run), draw, save, say where."""
    analysis_main(
        "similarity",
        SimilarityOptions,
        SimilarityConfig,
        argv,
        run=partial(run, quiet=False),
        draw=lambda tables, config: draw(tables, tuple(config.layers or ())),
        summary=summary,
        description=__doc__,
    )


def summary(tables: Tables) -> str:
    """A line a merge at the middle alpha measured: the stream at the last block, or what it says."""
    alpha = middle(tables["output"].alpha.unique())
    keys = ["space", "operator", "metric"]
    output = tables["output"].query("alpha == @alpha").set_index(keys).value.sort_index()
    lines = []
    for space, operator in output.index.droplevel("metric").unique():
        said = output[space, operator]
        line = f"{space} {operator}, alpha {alpha:g}: "
        if "similarity" in tables:
            similarity = tables["similarity"].query("alpha == @alpha and layer == layer.max()")
            of_merge = similarity.query("space == @space and operator == @operator")
            value = of_merge.set_index("metric").value
            if len(value):
                line += (
                    f"midness {value['midness']:.3f}, arc ratio {value['arc_ratio']:.3f}, debiased CKA "
                    f"host-merged {value['cka_debiased_host_merged']:.3f}, donor-merged "
                    f"{value['cka_debiased_donor_merged']:.3f} at the last block; "
                )
        lines.append(
            f"{line}Jensen-Shannon divergence from the host {said['js_host']:.3f}, from the donor "
            f"{said['js_donor']:.3f} nats"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    with one_line_errors("similarity"):
        main()
