"""A loaded recipe with the thread that speaks for it, shared by all who ask for the same."""

import threading
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from lm_merge.evaluation.engines.batching import BatchingWorker
from lm_merge.evaluation.engines.speaking import Prompt, Sampling, Spoken, speak
from lm_merge.spaces import Composed, system
from lm_merge.spaces.compose import RECIPE_SUFFIXES

Request = tuple[Prompt, Sampling]


class Speaker:
    """What is loaded, and the thread that speaks for it."""

    def __init__(self, source: str, device: str | None, dtype: str | None, n: int) -> None:
        self.composed: Composed = system(source, device=device, dtype=dtype)
        self.worker: BatchingWorker[Request, Spoken] = BatchingWorker(
            self._speak, kind_of=_kind, batch_size=n
        )

    def _speak(self, requests: Sequence[Request]) -> list[Spoken]:
        sampling = requests[0][1]  # equal in all: `_kind`
        return speak(self.composed, [prompt for prompt, _ in requests], sampling)


_SPEAKERS: WeakValueDictionary[str, Speaker] = WeakValueDictionary()
_LOADING = threading.Lock()


def shared_speaker(model_name: str, device: str | None, dtype: str | None, n: int) -> Speaker:
    """The speaker of a recipe or model, loaded once for all who hold it; n: its batch size.

    Evaluation frameworks make several objects of one model. A recipe that was edited is another one.
    """
    is_recipe = Path(model_name).suffix in RECIPE_SUFFIXES
    content = Path(model_name).read_text(encoding="utf-8") if is_recipe else None
    key = repr((model_name, content, device, dtype, n))
    with _LOADING:
        speaker = _SPEAKERS.get(key)
        if speaker is None:
            speaker = _SPEAKERS[key] = Speaker(model_name, device, dtype, n)
        return speaker


def _kind(request: Request) -> Sampling | None:
    sampling = request[1]
    return None if sampling.seed is not None and sampling.temperature != 0 else sampling
