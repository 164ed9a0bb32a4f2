"""Whether a checkpoint holds exactly the tensors of its model, by transformers' own account."""

from collections.abc import Mapping
from typing import Any

from lm_merge.models.checkpoint_files import some

REMEDY = "complete the download or mend config.json"


def check_complete(
    account: Mapping[str, Any], name: str, kind: str, *, shapes: bool = True
) -> None:
    """Raise ValueError that names tensors which a model needs and its files lack, or the reverse.

    account: what `from_pretrained(..., output_loading_info=True)` gives; there, recomputed buffers, tied
    tensors and names that transformers maps have been left out already. name: the model's; kind: its
    class. shapes: whether tensors of another shape than the configuration asks for are refused, too.
    """
    missing, unknown = sorted(account["missing_keys"]), sorted(account["unexpected_keys"])
    wrong = sorted(account["mismatched_keys"]) if shapes else []
    parts = []
    if missing:
        parts.append(f"lacks {_count(missing)} of {kind}, which would be random: {some(missing)}")
    if unknown:
        parts.append(f"holds {_count(unknown)} that {kind} does not know: {some(unknown)}")
    if wrong:
        tensor, held, asked = wrong[0]
        parts.append(
            f"holds {_count(wrong)} of another shape than config.json asks for: {tensor} has "
            f"{tuple(held)}, not {tuple(asked)}"
        )
    if parts:
        raise ValueError(f"model {name!r}: its checkpoint {'; it '.join(parts)}; {REMEDY}")


def _count(names: list[Any]) -> str:
    return "1 tensor" if len(names) == 1 else f"{len(names)} tensors"
