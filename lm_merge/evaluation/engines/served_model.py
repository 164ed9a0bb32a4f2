"""A loaded recipe with the thread that generates its replies, shared by all who ask for the same."""

import threading
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from lm_merge.evaluation.engines.batching import BatchingWorker
from lm_merge.evaluation.engines.replying import Prompt, Reply, Sampling, reply
from lm_merge.recipes.recipe import is_recipe_file
from lm_merge.spaces import Composed, system

Request = tuple[Prompt, Sampling]


class ServedModel:
    """What is loaded, and the thread that generates."""

    def __init__(self, source: str, device: str | None, dtype: str | None, n: int) -> None:
        self.composed: Composed = system(source, device=device, dtype=dtype)
        self.worker: BatchingWorker[Request, Reply] = BatchingWorker(
            self._reply, kind_of=_kind, batch_size=n
        )

    def _reply(self, requests: Sequence[Request]) -> list[Reply]:
        sampling = requests[0][1]  # equal in all: `_kind`
        return reply(self.composed, [prompt for prompt, _ in requests], sampling)


_SERVED: WeakValueDictionary[str, ServedModel] = WeakValueDictionary()
_LOADING = threading.Lock()


def shared_model(model_name: str, device: str | None, dtype: str | None, n: int) -> ServedModel:
    """The model of a recipe or a name, loaded once for all who hold it; n: its batch size.

    Evaluation frameworks make several objects of one model. A recipe that was edited is another one.
    """
    is_recipe = is_recipe_file(model_name)
    content = Path(model_name).read_text(encoding="utf-8") if is_recipe else None
    key = repr((model_name, content, device, dtype, n))
    with _LOADING:
        served = _SERVED.get(key)
        if served is None:
            served = _SERVED[key] = ServedModel(model_name, device, dtype, n)
        return served


def _kind(request: Request) -> Sampling | None:
    sampling = request[1]
    return None if sampling.seed is not None and sampling.temperature != 0 else sampling
