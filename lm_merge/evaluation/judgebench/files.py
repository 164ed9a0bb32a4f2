"""JudgeBench's files: read from a folder, a file or the hub, and known by their checksum."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from lm_merge.evaluation.json_lines import read_rows, read_text
from lm_merge.evaluation.judgebench.schema import JudgedPair, Pair

HUB_NAME = "ScalerLab/JudgeBench"
HUB_REVISION = "57dd5e0b9817d07f05ec8f45a91b2ce1e310e308"
Split = Literal["gpt", "claude"]
RESPONSE_MODELS: dict[Split, str] = {
    "gpt": "gpt-4o-2024-05-13",
    "claude": "claude-3-5-sonnet-20240620",
}
# `checksum` of the pairs at HUB_REVISION
CHECKSUMS: dict[Split, str] = {
    "gpt": "09518821afced96caa376f84e6075b7eaec0ffbd509d9fbdac72b69b9f5835d4",
    "claude": "0aa2058b1a4fb561ed77145f9d512dbe94be76e84a06db7160c5fa725e1646ff",
}
PairT = TypeVar("PairT", bound=Pair)


def load_pairs(source: str | Path, split: Split | None = None) -> list[Pair]:
    """Pairs of a local file or folder, or of the hub's data set where `source` is its name.

    source: a JSONL file; a folder, of which every JSONL file that holds pairs counts (outputs of
    judges in it are passed over); or "ScalerLab/JudgeBench", which is fetched at a pinned revision
    and checked against a checksum. split: "gpt" or "claude" keeps the pairs that this model wrote.
    Raises ValueError where nothing is left, and for a pair_id that occurs twice.
    """
    if str(source) == HUB_NAME and not Path(source).exists():
        pairs = _from_hub(split)
    elif Path(source).is_file():
        pairs = read_pairs(source)
    elif Path(source).is_dir():
        files = sorted(file for file in Path(source).glob("*.jsonl") if not _holds_judgments(file))
        pairs = [pair for file in files for pair in read_pairs(file)]
    else:
        raise FileNotFoundError(
            f"source={str(source)!r} is no file or folder; give one, or {HUB_NAME!r} for the hub's"
        )
    if split is not None:
        pairs = [pair for pair in pairs if pair.response_model == RESPONSE_MODELS[split]]
    if not pairs:
        wanted = "" if split is None else f" of split {split!r}"
        raise ValueError(f"source={str(source)!r} holds no pair{wanted}")
    require_distinct(pairs, source)
    return pairs


def read_pairs(path: str | Path) -> list[Pair]:
    """The pairs of a JSONL file, one JSON object a line; judgments in it are left out."""
    return read_rows(path, Pair)


def read_judged(path: str | Path) -> list[JudgedPair]:
    """The judged pairs of an output file in the official schema."""
    return read_rows(path, JudgedPair)


def checksum(pairs: Iterable[Pair]) -> str:
    """SHA-256 of the pairs' fields as canonical JSON, sorted by pair_id: the same in any file format."""
    lines = sorted(
        json.dumps(pair.model_dump(include=set(Pair.model_fields)), sort_keys=True)
        for pair in pairs
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def require_distinct(pairs: Sequence[Pair], source: str | Path) -> None:
    """Raise ValueError that names a pair_id which occurs more than once."""
    repeated = [key for key, n in Counter(pair.pair_id for pair in pairs).items() if n > 1]
    if repeated:
        raise ValueError(
            f"{source} holds pair_id {repeated[0]!r} more than once"
            + (f", and {len(repeated) - 1} others" if len(repeated) > 1 else "")
        )


def _holds_judgments(path: Path) -> bool:
    return '"judgments"' in read_text(path).partition("\n")[0]


def _from_hub(split: Split | None) -> list[Pair]:
    from huggingface_hub import snapshot_download

    folder = snapshot_download(
        HUB_NAME, repo_type="dataset", revision=HUB_REVISION, allow_patterns=["*.jsonl", "*.json"]
    )
    pairs = [pair for file in sorted(Path(folder).rglob("*.jsonl")) for pair in read_pairs(file)]
    for name in CHECKSUMS if split is None else (split,):
        found = checksum(p for p in pairs if p.response_model == RESPONSE_MODELS[name])
        if found != CHECKSUMS[name]:
            raise ValueError(
                f"split {name!r} of {HUB_NAME} at {HUB_REVISION} has checksum {found}, not "
                f"{CHECKSUMS[name]}: its content is not the published one; delete {folder} and retry"
            )
    return pairs
