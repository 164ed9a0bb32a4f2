"""What a checkpoint folder contains besides tensors: configuration, tokenizer, model card."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from lm_merge.models.checkpoint_files import CONFIG
from lm_merge.models.tokenizer_files import PROCESSOR_FILES, TOKENIZER_FILES
from lm_merge.spaces.weights.alignment import UNEMBEDDINGS
from lm_merge.spaces.weights.block_config import set_blocks
from lm_merge.spaces.weights.plan import Plan
from lm_merge.spaces.weights.vocabulary import n_rows

MADE_BY = "Made by lm_merge"
WRITTEN = re.compile(r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|\w+\.py")


def write_small_files(plan: Plan, folder: Path, notes: list[str], version: str) -> None:
    """Write config.json, generation config, tokenizer files and README.md."""
    (folder / "config.json").write_text(json.dumps(output_config(plan), indent=2) + "\n")
    for name in ("generation_config.json", *PROCESSOR_FILES, *_python_files(plan.host.folder)):
        if (plan.host.folder / name).is_file():
            shutil.copyfile(plan.host.folder / name, folder / name)
    for name in TOKENIZER_FILES:
        if (plan.tokenizer_owner.folder / name).is_file():
            shutil.copyfile(plan.tokenizer_owner.folder / name, folder / name)
    (folder / "README.md").write_text(model_card(plan, notes, version), encoding="utf-8")


def written_by_a_merge(folder: Path) -> bool:
    """Whether a folder has the card of a merge and only such files as a merge writes; or is empty."""
    paths = list(folder.iterdir())
    known = {CONFIG, "generation_config.json", "README.md", *PROCESSOR_FILES, *TOKENIZER_FILES}
    card = folder / "README.md"
    return not paths or (
        card.is_file()
        and MADE_BY in card.read_text(encoding="utf-8", errors="replace")
        and all(
            path.is_file() and (path.name in known or WRITTEN.fullmatch(path.name))
            for path in paths
        )
    )


def _python_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.py"))  # a model that brings its own code


def output_config(plan: Plan) -> dict[str, Any]:
    """The host's configuration, with the output's dtype, blocks and vocabulary size.

    With other blocks than the host's, every list with one entry a block (such as layer_types) is put
    together anew, from the entries of the blocks that came.
    """
    config = json.loads(json.dumps(plan.host.config))
    text = config.get("text_config")
    parts = [config, text] if isinstance(text, dict) else [config]
    dtype = _main_dtype(plan)
    if plan.block_origins is not None:
        set_blocks(config, plan.block_origins)
    for part in parts:
        for key in ("dtype", "torch_dtype"):
            if key in part:
                part[key] = dtype
        if "vocab_size" in part:
            part["vocab_size"] = n_rows(plan.tokenizer_owner)
    head = any(one.name.endswith(UNEMBEDDINGS) for one in plan.tensors)
    if any(part.get("tie_word_embeddings") is head for part in parts):
        for part in (config, *(part for part in parts if "tie_word_embeddings" in part)):
            part["tie_word_embeddings"] = not head
    if "dtype" in config:
        config.pop("torch_dtype", None)  # its former name
    elif "torch_dtype" not in config:
        config["dtype"] = dtype
    return config


def _main_dtype(plan: Plan) -> str:
    sizes: dict[str, int] = {}
    for one in plan.tensors:
        name = str(one.dtype).removeprefix("torch.")
        sizes[name] = sizes.get(name, 0) + one.n_bytes
    return max(sizes, key=lambda name: sizes[name])


def model_card(plan: Plan, notes: list[str], version: str) -> str:
    """README.md: what was merged, how, and the recipe that does it again."""
    description = plan.description
    models = "\n".join(
        f"- `{one.model}`"
        + (f" at revision `{one.revision}`" if one.revision else "")
        + (f" with adapter `{one.adapter}`" if one.adapter else "")
        for one in description.models
    )
    base = f"\nAncestor: `{description.base.model}`.\n" if description.base else ""
    listed = "".join(f"\n- {note}" for note in (*plan.notes, *notes))
    compat = f", compat {description.compat}" if description.compat else ""
    return f"""---
library_name: transformers
tags:
- merge
---

# Merge by {description.method}

{MADE_BY} {version} in the space of weights{compat}; {len(plan.tensors)} tensors.

{models}
{base}
Configuration, generation settings and chat template are those of `{plan.host.name}`, the tokenizer
is that of `{plan.tokenizer_owner.name}`.
{"" if not listed else chr(10) + "Notes:" + chr(10) + listed + chr(10)}
{_data(plan)}## Recipe

```yaml
{description.text.strip()}
```
"""


def _data(plan: Plan) -> str:
    prompts = plan.description.prompts
    if not prompts:
        return ""
    digest = hashlib.sha256("\n".join(prompts).encode()).hexdigest()
    n_characters = sum(map(len, prompts))
    return (
        f"## Data\n\n{len(prompts)} prompts, {n_characters} characters; SHA-256 of the prompts, joined "
        f"by newlines: `{digest}`.\n\n"
    )
