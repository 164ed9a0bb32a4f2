"""The grid of merges at one block each, and the recipe's own merge next to it."""

from collections.abc import Sequence

from analyses.layerwise.config import LayerwiseConfig
from lm_merge.scoring.compositions import Compositions, compositions, compositions_of
from lm_merge.spaces.latents import LatentMerge
from lm_merge.spaces.latents.latent_grid import GridCell, LatentGrid

EVERY = 5


def grid_of(config: LayerwiseConfig, merge: LatentMerge, *, also: Sequence[int] = ()) -> LatentGrid:
    """The grid of a configuration; merge: the recipe's, whose models all of it shares.

    also: blocks besides the usual ones, where the configuration names none.
    """
    layers = config.layers or default_layers(merge.host.n_layers, also)
    cells = tuple(
        GridCell(layer, operator, alpha)
        for layer in layers
        for operator in config.operators
        for alpha in config.alphas
    )
    return LatentGrid(merge, cells, at_once=config.at_once)


def default_layers(n_layers: int, also: Sequence[int] = ()) -> tuple[int, ...]:
    """Every 5th block from the first, the last, and those of `also`."""
    return tuple(sorted({*range(0, n_layers, EVERY), n_layers - 1, *also}))


def with_own_cell(grid: LatentGrid) -> LatentGrid:
    """The grid and the recipe's own merge, where that is at one block; else the grid."""
    merge = grid.merge
    own = [GridCell(layer, merge.operator, alpha) for layer, alpha in merge.layers.items()]  # pyright: ignore[reportArgumentType] # a recipe has no gates
    if len(own) > 1 or own[0] in grid.cells:
        return grid
    return LatentGrid(merge, (*grid.cells, *own), at_once=grid.at_once)


def full_merges(config: LayerwiseConfig, merge: LatentMerge) -> list[Compositions]:
    """Merges without one block: the recipe's own if it has several, and those it is compared with."""
    own = [compositions_of(merge)] if len(merge.layers) > 1 else []
    compared = [
        compositions(
            recipe,
            config.alphas,
            device=config.device,
            dtype=config.dtype,
            loaded=(merge.host, *merge.donors),
        )
        for recipe in config.compared_recipes()
    ]
    return own + compared
