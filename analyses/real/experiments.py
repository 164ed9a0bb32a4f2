"""The experiments of `make real`: each is an analysis with its configuration."""

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from analyses.adapters.config import AdaptersConfig, SubsetOptions
from analyses.curvature.config import CurvatureConfig
from analyses.layerwise.config import LayerwiseConfig
from analyses.real.config import RealConfig
from analyses.real.questions import TRAINED, UNSEEN, intent_file, word_problem_file
from analyses.similarity.config import SimilarityConfig
from analyses.skill_transfer.config import SkillTransferConfig
from lm_merge.recipes import ModelSource, Recipe

CHAT_PROMPTS = Path(__file__).with_name("chat_prompts.txt")
SKILL = "math"
NEAREST = "intent-fr"  # expert of the languages that no adapter was trained on: a Romance one, too
N_TOKENS = 40  # of an answer: the longest thought of the tests takes fewer
ALPHA = 0.5


def pair_recipe(config: RealConfig, operator: str) -> Recipe:
    """The base as host, the base with the skill's adapter as donor, merged at the last block."""
    donor = ModelSource(model=config.model, adapter=str(config.adapters / SKILL))
    layers = {max(config.layers): ALPHA}
    return Recipe(host=config.model, donors=(donor,), operator=operator, layers=layers)


def _skill_transfer(config: RealConfig, folder: Path) -> SkillTransferConfig:
    return SkillTransferConfig(
        recipe=pair_recipe(config, "slerp"),
        merges=config.merges,
        layers=config.layers,
        alphas=config.alphas,
        questions=word_problem_file(config, folder),
        n_questions=config.n_questions,
        prompts=CHAT_PROMPTS,
        n_prompts=config.n_prompts,
        max_new_tokens=N_TOKENS,
        reply_tokens=N_TOKENS,
        stop_ids=config.stop_ids,
        batch_size=config.batch_size,
        device=config.device,
        dtype=config.dtype,
    )


def _similarity(config: RealConfig, folder: Path) -> SimilarityConfig:
    return SimilarityConfig(
        recipe=pair_recipe(config, "slerp"),
        prompts=CHAT_PROMPTS,
        n_prompts=config.n_prompts,
        batch_size=4,
        device=config.device,
        dtype=config.dtype,
    )


def _layerwise(config: RealConfig, folder: Path) -> LayerwiseConfig:
    return LayerwiseConfig(
        recipe=pair_recipe(config, "slerp"),
        layers=config.stream_layers,
        operators=("lerp", "slerp"),
        alphas=(0.5, 0.7),
        texts=CHAT_PROMPTS,
        n_texts=config.n_prompts,
        n_prompts=0,
        batch_size=4,
        at_once=2,
        device=config.device,
        dtype=config.dtype,
    )


def _curvature(config: RealConfig, folder: Path) -> CurvatureConfig:
    return CurvatureConfig(
        recipe=pair_recipe(config, "lerp"),
        layers=config.stream_layers,
        alphas=(0.5,),
        texts=CHAT_PROMPTS,
        n_texts=config.n_prompts,
        batch_size=2,
        device=config.device,
        dtype=config.dtype,
    )


def _adapters(config: RealConfig, folder: Path) -> AdaptersConfig:
    donors = tuple(str(config.adapters / name) for name in TRAINED)
    recipe = Recipe(space="adapters", host=config.model, donors=donors, operator="linear")
    return AdaptersConfig(
        recipe=recipe,
        questions=intent_file(config, folder),
        experts=dict.fromkeys(UNSEEN, NEAREST),
        subset=SubsetOptions(n_max=None),
        sensitivity=False,
        max_new_tokens=12,
        stop_ids=config.stop_ids,
        batch_size=config.batch_size,
        device=config.device,
        dtype=config.dtype,
    )


EXPERIMENTS: dict[str, Callable[[RealConfig, Path], BaseModel]] = {
    "skill_transfer": _skill_transfer,
    "similarity": _similarity,
    "layerwise": _layerwise,
    "curvature": _curvature,
    "adapters": _adapters,
}
