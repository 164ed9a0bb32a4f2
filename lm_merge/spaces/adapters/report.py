"""What a written merge of adapters is: method, coefficients, ranks and errors, as data and as a card."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field

from lm_merge.coefficients.groups import Row
from lm_merge.recipes import AdapterRecipe, as_source
from lm_merge.spaces.adapters.adapter_merge import AdapterMerge
from lm_merge.spaces.adapters.export import Written

REPORT_FILE, RECIPE_FILE, CARD_FILE = "merge_report.json", "recipe.yaml", "README.md"
MADE_BY = "Made by lm_merge"


class AdapterReport(BaseModel, frozen=True, extra="forbid"):
    """The content of `merge_report.json`.

    coefficients: module path -> one number an adapter. ranks: module path -> rank, of LoRA forms.
    relative_errors: module path -> Frobenius norm of (written - merged) over that of merged; 0 for exact
    forms.
    """

    operator: str
    operator_args: dict[str, Any]
    form: str
    host: str
    adapters: tuple[str, ...]
    coefficients: dict[str, Row]
    ranks: dict[str, int]
    relative_errors: dict[str, float]
    worst_error: float
    exact: bool = Field(description="whether the file holds the merge itself, up to rounding")
    notes: tuple[str, ...] = ()
    version: str

    @classmethod
    def load(cls, folder: str | Path) -> "AdapterReport":
        """The report of a folder that `merge_adapters` wrote; OSError where there is none."""
        path = Path(folder) / REPORT_FILE
        if not path.is_file():
            raise OSError(f"{str(folder)!r} holds no {REPORT_FILE}: no merge of adapters wrote it")
        return cls.model_validate(json.loads(path.read_text(encoding="utf-8")))

    @property
    def words(self) -> str:
        """Form, modules, ranks and error in one line."""
        n = len(self.coefficients)
        ranks = sorted(set(self.ranks.values()))
        rank = ""
        if ranks:
            rank = f", rank {ranks[0]}" if len(ranks) == 1 else f", ranks {ranks[0]} to {ranks[-1]}"
        error = "exact" if self.exact else f"relative error at most {self.worst_error:.3g} a module"
        return f"{self.operator} of {' + '.join(self.adapters)}: {n} modules{rank}, {error}"


def report_of(
    merge: AdapterMerge, recipe: AdapterRecipe, written: Written, version: str
) -> AdapterReport:
    """The report of a merge that was written."""
    return AdapterReport(
        operator=merge.operator,
        operator_args=dict(recipe.operator_args),
        form=written.form,
        host=as_source(recipe.host).model,
        adapters=tuple(one.name for one in merge.adapters),
        coefficients=dict(merge.coefficients),
        ranks=dict(written.ranks),
        relative_errors=dict(written.relative_errors),
        worst_error=written.worst_error,
        exact=written.form != "svd",
        notes=merge.notes,
        version=version,
    )


def write_report(folder: Path, report: AdapterReport, recipe: AdapterRecipe) -> None:
    """Write the report, the recipe that makes the merge again, and a card for readers."""
    text = report.model_dump_json(indent=2) + "\n"
    (folder / REPORT_FILE).write_text(text, encoding="utf-8")
    recipe.save(folder / RECIPE_FILE)
    (folder / CARD_FILE).write_text(card(report, recipe), encoding="utf-8")


FORMS: Mapping[str, tuple[str, str]] = {  # form -> library of the card, what the folder holds
    "lora": ("peft", "a LoRA adapter, exactly the merged update"),
    "svd": ("peft", "a LoRA adapter of lower rank, close to the merged update"),
    "delta": ("lm_merge", "the full matrices of the merged update"),
    "model": ("transformers", "the base's checkpoint with the merged update in its weights"),
}


def card(report: AdapterReport, recipe: AdapterRecipe) -> str:
    """README.md of the folder."""
    library, content = FORMS[report.form]
    content_of_recipe = recipe.model_dump(exclude_defaults=True, exclude_none=True)
    text = yaml.safe_dump({"space": "adapters", **content_of_recipe}, sort_keys=False)
    return f"""---
library_name: {library}
base_model: {report.host}
tags:
- merge
---

# Merge of adapters by {report.operator}

{MADE_BY} {report.version} in the space of adapters: {content}.

{report.words}.
{_notes(report.notes)}
## Recipe

```yaml
{text.strip()}
```

Coefficients, ranks and errors of every module are in `{REPORT_FILE}`.
"""


def _notes(notes: Sequence[str]) -> str:
    return "".join(f"\n- {note}" for note in notes) + ("\n" if notes else "")
