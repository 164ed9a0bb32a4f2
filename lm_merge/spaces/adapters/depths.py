"""How deep in the model a module lies, from its name alone."""

from collections.abc import Iterable

from lm_merge.spaces.weights.blocks import find_blocks


def depths_of(keys: Iterable[str], parameters: Iterable[str]) -> dict[str, float | None]:
    """Module path -> depth of its block, 0 the first and 1 the last; None outside the blocks.

    parameters: names of all parameters of the model, which tell how many blocks there are.
    """
    blocks = find_blocks(parameters)
    last = max(blocks.n_blocks - 1, 1)
    numbers = {key: blocks.number(f"{key}.weight") for key in keys}
    return {key: None if number is None else number / last for key, number in numbers.items()}
