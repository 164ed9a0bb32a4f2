"""Run the peer on every case of cases.yaml and keep what it wrote, as one flat vector a case.

Not part of the tests: it needs mergekit 0.1.5, in an environment of its own, and writes
models.safetensors (inputs), peer.safetensors (outputs, tensors flattened in the order of their names)
and config.json beside itself:

    python -m venv peer && peer/bin/pip install mergekit==0.1.5
    peer/bin/python tests/spaces/golden/make_golden.py

which is `mergekit-yaml case.yaml out --no-copy-tokenizer --quiet` for each case. A case that the
peer refuses is reported and left out.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml
from mergekit.scripts.run_yaml import main as mergekit_yaml
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
CONFIG = LlamaConfig(
    vocab_size=12,
    hidden_size=4,
    intermediate_size=6,
    num_hidden_layers=3,
    num_attention_heads=2,
    num_key_value_heads=1,
    max_position_embeddings=16,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
MODELS = {"base": 0.0, "first": 0.5, "second": 0.5, "third": 0.5, "near": 5e-7}  # name -> drift


def write_models(folder: Path) -> dict[str, torch.Tensor]:
    """base, and first, second, third that drifted from it; near drifted a millionth as far."""
    base = LlamaForCausalLM(CONFIG)
    generator = torch.Generator().manual_seed(0)
    kept = {}
    for name, drift in MODELS.items():
        model = LlamaForCausalLM(CONFIG)
        for tensor, origin in zip(model.parameters(), base.parameters(), strict=True):
            if name == "base":
                origin.data = torch.randn(origin.shape, generator=generator)
            noise = torch.randn(origin.shape, generator=generator)
            tensor.data = origin.data + drift * noise
        model.save_pretrained(folder / name)
        tensors = load_file(folder / name / "model.safetensors")
        kept |= {f"{name}/{key}": value for key, value in tensors.items()}
    return kept


def with_paths(value: Any, folder: Path) -> Any:
    """The case with the models' names turned into paths."""
    if isinstance(value, dict):
        return {key: with_paths(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_paths(inner, folder) for inner in value]
    return str(folder / value) if value in MODELS else value


def main() -> None:
    outputs = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_file(write_models(folder), HERE / "models.safetensors")
        (HERE / "config.json").write_text((folder / "base" / "config.json").read_text())
        for name, case in yaml.safe_load((HERE / "cases.yaml").read_text()).items():
            (folder / "case.yaml").write_text(yaml.safe_dump(with_paths(case, folder)))
            arguments = [str(folder / "case.yaml"), str(folder / f"out_{name}")]
            options = ["--no-copy-tokenizer", "--quiet"]
            try:
                mergekit_yaml([*arguments, *options], standalone_mode=False)
            except Exception as error:  # noqa: BLE001 # whatever it is, it is reported
                sys.stderr.write(f"{name}: refused: {error!r}\n")
                continue
            tensors = {}
            for path in sorted((folder / f"out_{name}").glob("*.safetensors")):
                tensors |= load_file(path)
            outputs[name] = torch.cat([tensors[key].flatten() for key in sorted(tensors)])
            config = json.loads((folder / f"out_{name}" / "config.json").read_text())
            sys.stderr.write(
                f"{name}: {len(tensors)} tensors, {config['num_hidden_layers']} layers, "
                f"{outputs[name].dtype}\n"
            )
    save_file(outputs, HERE / "peer.safetensors")


if __name__ == "__main__":
    main()
