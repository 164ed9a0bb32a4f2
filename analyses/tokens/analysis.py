"""What `python -m analyses.tokens` measures, draws and reports."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.running.command_line import Figure, Tables
from analyses.running.findings import Finding
from analyses.running.inputs import note_models
from analyses.tokens.config import TokensConfig
from figures import plot_gate_by_token, plot_next_tokens, plot_token_probabilities
from figures.token_text import visible
from lm_merge.accumulation import wide
from lm_merge.runs.record import Run
from lm_merge.scoring.texts import Texts, word_of, words_of
from lm_merge.scoring.token_curvature import TokenCurvature
from lm_merge.spaces import LatentMerge
from lm_merge.spaces.compose import compose_latents

N_POINTS = 16  # of the segment at which the curvature is looked at
NO_CURVATURE = (ValueError, NotImplementedError)  # as `curvature_table` says


def run(config: TokensConfig, record: Run | None = None, *, quiet: bool = True) -> Tables:
    """Tables "tokens" (with the columns of `curvature_table`), "next_tokens", "gate": `token_tables`."""
    merge = compose_latents(config.recipe, device=config.device, dtype=config.dtype)
    note_models(record, merge)
    prompt = merge.host.to_tokens(config.prompt, chat=config.chat).input_ids
    text = merge.generate(prompt, max_new_tokens=config.max_new_tokens, do_sample=False)
    tables = token_tables(merge, text, prompt.shape[1], top_k=config.top_k)
    if config.curvature:
        try:
            curved = curvature_table(merge, text, prompt.shape[1])
        except NO_CURVATURE as error:  # the view is whole without it; the record says why
            if record is not None:
                record.update(notes=[*merge.notes, f"no curvature: {error}"])
        else:
            tables["tokens"] = tables["tokens"].merge(curved, on="position", validate="m:1")
    return tables


@torch.no_grad()
def token_tables(merge: LatentMerge, text: Tensor, n_prompt: int, *, top_k: int) -> Tables:
    """Host, first donor and merge at each position of one text [1, pos] from its last prompt token.

    "tokens": position, token (the one that follows), system, probability of that token (NaN for an id
    without a token), entropy_nats, kl_nats (of the merge's distribution from the system's; 0 for the
    merge). Distributions are over the tokens alone, without padding rows of the unembedding.
    "next_tokens": position, token (at that position), system, candidate, probability, for the
    `top_k` likeliest of each system. "gate": alpha of each token at each merged block.
    """
    host, donor = merge.host, merge.donors[0]
    words = words_of(host, text[0].tolist())
    with merge.recording() as record:
        logits = {"merged": merge(text)}
    logits = {"host": host(text), "donor": donor(text), **logits}
    n_tokens = min(host.n_token_rows, donor.n_token_rows)
    log_probs = {
        name: wide(one[0, n_prompt - 1 :, :n_tokens]).log_softmax(-1).cpu()
        for name, one in logits.items()
    }
    positions = range(n_prompt - 1, text.shape[1])
    return {
        "tokens": _followed(log_probs, text[0, n_prompt:].cpu(), positions, words),
        "next_tokens": next_token_table(
            log_probs, positions, [words[position] for position in positions], word_of(host), top_k
        ),
        "gate": record.table(words),
    }


def curvature_table(merge: LatentMerge, text: Int[Tensor, "1 pos"], n_prompt: int) -> pd.DataFrame:
    """K_g of each token after the prompt, on the segment from host to first donor at one block.

    One row a position: curvature_layer (the first merged block), k_g (nats per squared norm) and
    curvature_nats (K_g |d-h|^2), as in `TokenCurvature.measure`. Raises ValueError for models without
    native view, NotImplementedError where torch cannot differentiate their blocks twice.
    """
    layer = min(merge.layers)
    meter = TokenCurvature(merge, (layer,), (0.5,), N_POINTS)  # K_g does not depend on alpha
    answer = torch.zeros_like(text, dtype=torch.bool)
    answer[:, n_prompt:] = True
    prompt_end = torch.tensor([[n_prompt - 1]], device=text.device)
    texts = Texts(text, torch.ones_like(text), answer, prompt_end)
    table = meter.measure(texts, answer.roll(-1, dims=1) & texts.predicts)
    return pd.DataFrame(
        {"curvature_layer": layer}
        | {key: table[key] for key in ("position", "k_g", "curvature_nats")}
    )


def next_token_table(
    log_probs: Mapping[str, Float[Tensor, "pos n_tokens"]],
    positions: Sequence[int],
    words: Sequence[str],
    decode: Callable[[int], str],
    top_k: int,
) -> pd.DataFrame:
    """The likeliest next tokens of every system with their probability under each of them.

    `candidate` is the token's text; tokens that would read alike (parts of a character, say) have
    their ids behind it.
    """
    likeliest = {
        position: list(
            dict.fromkeys(
                token
                for one in log_probs.values()
                for token in one[index].topk(top_k).indices.tolist()
            )
        )
        for index, position in enumerate(positions)
    }
    labels = _labels({token for tokens in likeliest.values() for token in tokens}, decode)
    return pd.DataFrame(
        {
            "position": position,
            "token": word,
            "system": system,
            "candidate": labels[candidate],
            "probability": float(one[index, candidate].exp()),
        }
        for index, (position, word) in enumerate(zip(positions, words, strict=True))
        for candidate in likeliest[position]
        for system, one in log_probs.items()
    )


def _labels(tokens: set[int], decode: Callable[[int], str]) -> dict[int, str]:
    """Text of each token, with `#id` behind it where a figure would show another one the same."""
    texts = {token: decode(token) for token in tokens}
    times = Counter(map(visible, texts.values()))
    return {
        token: text if times[visible(text)] == 1 else f"{text}#{token}"
        for token, text in texts.items()
    }


def _followed(
    log_probs: Mapping[str, Tensor], following: Tensor, positions: range, words: Sequence[str]
) -> pd.DataFrame:
    """How every system saw the token that follows each position; the last has none."""
    merged = log_probs["merged"]
    rows = []
    for system, one in log_probs.items():
        kl = (merged.exp() * (merged - one)).sum(-1)
        entropy = -(one.exp() * one).sum(-1)
        for index, token in enumerate(following):
            rows.append(
                {
                    "position": positions[index + 1],
                    "token": words[positions[index + 1]],
                    "system": system,
                    "probability": probability_of(int(token), one[index]),
                    "entropy_nats": float(entropy[index]),
                    "kl_nats": float(kl[index]),
                }
            )
    return pd.DataFrame(rows)


def probability_of(token: int, log_probs: Float[Tensor, " n_tokens"]) -> float:
    """Probability of a token; NaN for an id beyond the tokens."""
    return float(log_probs[token].exp()) if token < len(log_probs) else float("nan")


def draw(tables: Tables, config: object = None) -> list[Figure]:
    """The analysis's figures, each with the table it draws."""
    return [
        ("token_probabilities", plot_token_probabilities(tables["tokens"]), tables["tokens"]),
        ("next_tokens", plot_next_tokens(tables["next_tokens"]), tables["next_tokens"]),
        ("gate_by_token", plot_gate_by_token(tables["gate"]), tables["gate"]),
    ]


def findings(tables: Tables, config: TokensConfig) -> list[Finding]:
    """Rows of `summary.json`: each token of the answer as each system predicted it.

    Keys: position, token, system (host, donor, merged), metric (probability; entropy_nats; kl_nats:
    of the merge from the system), value, n (1: one token).
    """
    long = tables["tokens"].melt(
        id_vars=["position", "token", "system"],
        value_vars=["probability", "entropy_nats", "kl_nats"],
        var_name="metric",
    )
    rows = long.assign(n=1).to_dict("records")
    return [{str(key): one for key, one in row.items()} for row in rows]


def summary(tables: Tables, config: object = None) -> str:
    """The merge's answer, and the probability of each of its tokens under every system."""
    tokens = tables["tokens"]
    answer = "".join(tokens[tokens.system == "merged"].token)
    wide = tokens.pivot(index=["position", "token"], columns="system", values="probability")
    wide = wide[list(tokens.system.unique())].round(3)
    wide.columns.name = None
    return f"answer of the merge: {answer}\nprobability of each of its tokens:\n{wide.to_string()}"
