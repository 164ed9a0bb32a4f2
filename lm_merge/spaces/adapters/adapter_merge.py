"""Adapters of one base model merged in memory, reversibly: `lm.AdapterMerge`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_merge.coefficients.groups import Row, rows_by_key
from lm_merge.coefficients.shares import donor_shares
from lm_merge.generation import Prompts, prepare
from lm_merge.models import HookedLM
from lm_merge.models.adapters import Adapter
from lm_merge.models.adapters.finding import find_adapter
from lm_merge.models.adapters.running import check_fits
from lm_merge.recipes import AdapterRecipe
from lm_merge.spaces.adapters.attachment import Attachment
from lm_merge.spaces.adapters.coefficient_forms import (
    Coefficients,
    as_recipe_field,
    as_rules,
    parts_of,
)
from lm_merge.spaces.adapters.depths import depths_of
from lm_merge.spaces.adapters.heads import HeadPolicy, Heads, check_policy, merged_heads
from lm_merge.spaces.adapters.keys import KeyMode
from lm_merge.spaces.adapters.merged_updates import MergedUpdates
from lm_merge.spaces.adapters.methods import get_adapter_method
from lm_merge.spaces.adapters.options import read_options
from lm_merge.spaces.adapters.transforms import read_steps
from lm_merge.spaces.composed import amount_phrase, composed_name
from lm_merge.spaces.host_lock import HostLock, unmerged


class AdapterMerge:
    """A base model that runs with several LoRA adapters merged; the base's weights are never changed.

    host: the base model. adapters: one or more folders or names, or what `find_adapter` gives.
    operator: "linear" (weighted sum of the updates, exact), "factor_mean", or a method of weight
        space on the updates (ties, dare_linear, slerp, karcher, ...): `ADAPTER_METHODS`.
    alpha: the adapters' total coefficient: 1 with equal parts is the mean of the updates, n their sum.
    donor_weights: each adapter's part of alpha, divided by their sum; equal unless given.
    coefficients: instead of alpha and donor_weights, one row of numbers (one an adapter) for all
        modules, rules (`Rule`, first fit counts), or module path -> row; a sum multiplies each update
        by its number.
    keys: "union" (a missing update is 0), "common" or "strict". heads: "keep" (one adapter's at a time:
        `merge.head`), "average" or "error". transforms: changes of each update before the merge.
    method_args: arguments of the operator, such as density.

    A sum runs as $y = W x + \\sum_i c_i s_i B_i (A_i x)$: memory grows by the factors only, and leaving
    `hooks` restores the host bit for bit. Methods whose result is a full matrix are computed once and
    put into the weights while the hooks are on, which needs a copy of the weights that they touch.

    >>> import lm_merge as lm
    >>> host = lm.load("tiny-instruct")
    >>> merge = lm.AdapterMerge(host, ["sums", "differences"], coefficients=(1.0, 0.0))
    >>> merge
    AdapterMerge('tiny-instruct' + sums, differences, linear)
    >>> merge.generate("47+38 = ?", chat=True, max_new_tokens=40)
    '<think>7+8=15, 4+3+1=8</think>85'
    >>> merge.coefficients = (0.0, 1.0)  # takes effect at the next forward pass
    >>> merge.generate("47-38 = ?", chat=True, max_new_tokens=40)
    '<think>17-8=9, 4-3-1=0</think>9'
    """

    def __init__(
        self,
        host: HookedLM,
        adapters: Sequence[Adapter | str | Path],
        *,
        operator: str = "linear",
        alpha: float = 1.0,
        donor_weights: Sequence[float] | None = None,
        coefficients: Coefficients | None = None,
        keys: KeyMode = "union",
        heads: HeadPolicy = "keep",
        transforms: Sequence[str | Mapping[str, Any]] = (),
        **method_args: Any,
    ) -> None:
        if not adapters:
            raise ValueError("adapters is empty: give at least one")
        read = [one if isinstance(one, Adapter) else find_adapter(str(one)) for one in adapters]
        names = [one.name for one in read]
        if len(set(names)) < len(names):
            raise ValueError(f"adapters {names}: a name occurs twice; rename a folder")
        native = host.require_native("an adapter merge")
        check_fits(native, read)
        check_policy(heads, read)
        self.host, self.adapters, self.operator = host, read, operator
        self.heads: HeadPolicy = heads
        self.transforms, self.method_args = tuple(transforms), dict(method_args)
        self.key_mode: KeyMode = keys
        self.head: str | None = None
        self._amounts: dict[str, Any] = {}
        method = get_adapter_method(operator)
        self.updates = MergedUpdates(
            read, method, read_options(method, method_args), read_steps(transforms), keys
        )
        self.notes = self.updates.notes
        self._lock = HostLock(host, self)
        modules = {key: native.get_submodule(key) for key in self.updates.keys}
        self._attachment = Attachment(host, self.updates, modules)
        names = [name for name, _ in native.named_parameters(remove_duplicate=False)]
        self._depths = depths_of(self.updates.keys, names)
        if coefficients is None:
            self.alpha = alpha, donor_weights
        else:
            self.coefficients = coefficients

    def __repr__(self) -> str:
        names = ", ".join(one.name for one in self.adapters)
        return f"AdapterMerge({self.host.name!r} + {names}, {self.operator})"

    @property
    def name(self) -> str:
        """Base, adapters, operator and coefficients, for tables and figures."""
        names = [self.host.name, *(one.name for one in self.adapters)]
        rows = set(self.updates.rows.values())
        amount = amount_phrase(next(iter(rows))) if len(rows) == 1 else "by module"
        return composed_name(names, "adapters", self.operator, amount)

    @property
    def donors(self) -> list[Adapter]:
        """The adapters."""
        return self.adapters

    @property
    def coefficients(self) -> Mapping[str, Row]:
        """Module path -> one coefficient an adapter."""
        return self.updates.rows

    @coefficients.setter
    def coefficients(self, values: Coefficients) -> None:
        """Takes effect at the next forward pass; ValueError for rows that do not fit."""
        before = self.updates.rows
        self.updates.rows = rows_by_key(as_rules(values), self._depths, len(self.adapters))
        try:
            self._attachment.rows_changed()
        except ValueError:
            self.updates.rows = before
            self._attachment.rows_changed()
            raise
        self._amounts = {"coefficients": as_recipe_field(values)}

    @property
    def alpha(self) -> float:
        """The adapters' total coefficient; ValueError where it differs between modules."""
        totals = {round(sum(row), 12) for row in self.updates.rows.values()}
        if len(totals) > 1:
            raise ValueError("the coefficients differ between modules, so there is no one alpha")
        return totals.pop()

    @alpha.setter
    def alpha(self, value: float | tuple[float, Sequence[float] | None]) -> None:
        """Give the adapters this much together, in their parts so far or in those that stand with it."""
        if not isinstance(value, tuple) and len(set(self.updates.rows.values())) > 1:
            factor = float(value) / self.alpha
            self.coefficients = {
                key: tuple(factor * one for one in row) for key, row in self.updates.rows.items()
            }
            return
        alpha, parts = (
            value
            if isinstance(value, tuple)
            else (
                value,
                parts_of(set(self.updates.rows.values())),
            )
        )
        shares = donor_shares(parts, len(self.adapters))
        self.coefficients = tuple(float(alpha) * share for share in shares)
        self._amounts = {"alpha": float(alpha), "donor_weights": parts}

    @property
    def recipe(self) -> AdapterRecipe:
        """This merge as data; ValueError where an adapter or the host is only in memory."""
        unnamed = [one.name for one in self.adapters if one.source is None]
        if unnamed:
            raise ValueError(
                f"adapter {unnamed[0]!r} was computed in memory and is in no folder, so a recipe cannot "
                "name it; write it with write_adapters and name that folder"
            )
        return AdapterRecipe.model_validate(
            {
                "host": self.host.recipe_source,
                "donors": tuple(one.source for one in self.adapters),
                "operator": self.operator,
                "keys": self.key_mode,
                "heads": self.heads,
                "transforms": self.transforms,
                "operator_args": self.method_args,
                **self._amounts,
            }
        )

    @property
    def fuses(self) -> bool:
        """Whether the updates are added to outputs; False where matrices are put into the weights."""
        return self._attachment.fuses

    def __call__(
        self,
        tokens: Int[Tensor, "batch pos"],
        attention_mask: Int[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch pos d_vocab"]:
        """Logits of the base with the merged adapters, on the native view.

        attention_mask: 0 for padding, on either side; positions are counted over real tokens.
        """
        with self.attached("native"):
            return self.host(tokens, attention_mask)

    def generate(
        self,
        prompts: Prompts,
        *,
        max_new_tokens: int | None = None,
        chat: bool = False,
        attention_mask: Tensor | None = None,
        **arguments: Any,
    ) -> Any:
        """Continue prompts with the adapters merged: str -> text, list of str -> list, ids -> ids."""
        host = self.host
        if "assistant_model" in arguments:
            arguments["assistant_model"] = unmerged(arguments["assistant_model"], host)
        encoded = prepare(host.tokenizer, prompts, host.name, chat, attention_mask)
        with self.attached("native"):
            return host.continue_prompts(encoded, max_new_tokens=max_new_tokens, **arguments)

    def run_with_cache(self, tokens: Any, *arguments: Any, **keywords: Any) -> Any:
        """Logits and activations of the base with the adapters: TransformerLens's run_with_cache."""
        with self.attached("hooked"):
            return self.host.hooked.run_with_cache(tokens, *arguments, **keywords)

    @contextmanager
    def hooks(self, *, folded: bool = False) -> Iterator["AdapterMerge"]:
        """Inside, host.native and host.hooked run with the adapters for every caller; may be nested.

        folded: a sum is put into the host's weights, too, so that a forward pass costs what the host's
            alone does. It takes a copy of the weights that the adapters change, and each sum is rounded
            to their dtype. Leaving puts the host's own weights back, bit for bit.

        Hooks of the user's own on a module run after the merge. Only the thread that entered may use the
        host inside. Raises RuntimeError where a merge is to be folded inside its own hooks.
        """
        with self._attachment.folded(self._lock) if folded else nullcontext():
            # the hooked view first: a view that is built on replaced weights may keep copies of them
            with self.attached("hooked"), self.attached("native"):
                yield self

    def attached(self, view: Literal["native", "hooked"]) -> AbstractContextManager[None]:
        """As `hooks`, for one view alone."""
        return self._attachment.attached(view, self._lock, self.head_values())

    def coefficient_tensors(
        self, rows: Mapping[str, Float[Tensor, " n_sources"]]
    ) -> AbstractContextManager[None]:
        """Inside, the sum runs with coefficients that are tensors, through which gradients flow.

        rows: module path -> one coefficient a source, for every module. Outside, `coefficients` count
        again. Raises ValueError for an operator whose result is not a sum with these coefficients.
        """
        return self._attachment.coefficient_tensors(rows)

    def module(self, key: str) -> nn.Module:
        """The host's module that an update belongs to."""
        return self._attachment.modules[key]

    def head_values(self) -> Heads:
        """The heads that replace the host's; empty where no adapter trained a module whole."""
        rows = list(self.updates.rows.values())
        parts = [sum(row[n] for row in rows) / len(rows) for n in range(len(self.adapters))]
        return merged_heads(self.adapters, self.heads, parts, self.head)

    def weights_in_place(self) -> AbstractContextManager[None]:
        """Inside, the host's own weights hold the merged updates, so that it can be saved as a model."""
        return self._attachment.weights_in_place(self._lock, self.head_values())
