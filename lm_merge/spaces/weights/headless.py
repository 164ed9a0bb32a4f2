"""An ancestor without the merged models' head: an encoder of which classifiers were fine-tuned."""

from dataclasses import replace

from lm_merge.models.checkpoint_files import some
from lm_merge.models.model_class import class_name, model_class
from lm_merge.spaces.weights.checkpoint import Checkpoint


def lacks_head(base: Checkpoint, host: Checkpoint) -> bool:
    """Whether the host is a classifier and the ancestor a model of another class."""
    ours, theirs = class_name(host.config), class_name(base.config)
    return str(ours).endswith("Classification") and ours != theirs


def as_ancestor(base: Checkpoint, host: Checkpoint) -> tuple[Checkpoint, tuple[str, ...]]:
    """The ancestor by the host's names, without tensors that the host has no place for; and notes.

    Tensors that only the host has (its head) are missing from what comes back. Raises ValueError where
    the two share no tensor.
    """
    kind = model_class(host.config)
    prefix = getattr(kind, "base_model_prefix", "")
    new = {}
    for name in base.entries:
        wanted = name if name in host.entries else f"{prefix}.{name}"
        if wanted in host.entries:
            new[name] = wanted
    if not new:
        raise ValueError(
            f"base {base.name!r} has none of the tensors of {host.name!r}; give the model from which "
            "it was fine-tuned"
        )
    lacking = sorted(set(host.entries) - set(new.values()))
    dropped = sorted(set(base.entries) - set(new))
    notes = [
        f"{base.name} has no {some(lacking)}: {len(lacking)} tensors of the output are the weighted mean"
    ]
    if dropped:
        notes.append(f"{base.name}: {some(dropped)} have no place in {host.name} and are left out")
    settings = {
        key: host.config[key] for key in ("architectures", "id2label") if key in host.config
    }
    renamed = replace(
        base,
        config={**base.config, **settings},
        entries={new[name]: base.entries[name] for name in new},
        stored={new[name]: base.stored.get(name, name) for name in new},
    )
    return renamed, tuple(notes)
