"""What `python -m analyses.encoder_check` measures and reports."""

import pandas as pd

from analyses.encoder_check.config import EncoderCheckConfig
from analyses.running.command_line import Figure, Tables, progress
from analyses.running.findings import Finding
from lm_merge.evaluation.sentence_similarity import read_pairs, similarity_row
from lm_merge.models.encoder import load_encoder
from lm_merge.runs.record import Run


def run(config: EncoderCheckConfig, record: Run, *, quiet: bool = True) -> Tables:
    """Table "similarity", one row a model."""
    pairs, rows = read_pairs(config.pairs), []
    record.update(device=config.device or "cpu", models=dict(config.inputs))
    for name in progress(config.models, "encoders", quiet=quiet):
        encoder = load_encoder(name, device=config.device)
        rows.append({"model": name, **similarity_row(encoder, pairs, max_length=config.max_length)})
    return {"similarity": pd.DataFrame(rows)}


def draw(tables: Tables, config: EncoderCheckConfig) -> list[Figure]:
    """No figure: a few numbers."""
    return []


def findings(tables: Tables, config: EncoderCheckConfig) -> list[Finding]:
    """Rows of `summary.json`, one a model.

    Keys: model, spearman, low, high (95 %, bootstrap over pairs), n.
    """
    return [
        {str(key): value for key, value in row.items()}
        for row in tables["similarity"].to_dict("records")
    ]


def summary(tables: Tables, config: EncoderCheckConfig) -> str:
    """One line a model."""
    return "\n".join(
        f"{row['model']}: Spearman {row['spearman']:.3f} [{row['low']:.3f}, {row['high']:.3f}], "
        f"n = {row['n']} pairs"
        for row in tables["similarity"].to_dict("records")
    )
