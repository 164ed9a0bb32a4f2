"""A judge that repeats what was recorded, from an output file in the official schema."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lm_merge.evaluation.judgebench.files import read_judged
from lm_merge.evaluation.judgebench.schema import Judgment
from lm_merge.evaluation.judges import Game, GameJudgment
from lm_merge.runs.identity import fingerprint


class ReplayJudge:
    """Gives recorded judgments again, found by question and both responses in their order.

    Costs nothing and needs no network: for new statistics of old judgments, and for published ones.
    Raises ValueError for a game that the file does not hold.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        pairs = read_judged(path)
        if not pairs:
            raise ValueError(f"path={str(path)!r} holds no judged pair")
        names = sorted({pair.judge_name for pair in pairs})
        if len(names) > 1:
            raise ValueError(f"path={str(path)!r} mixes judges {names}; give a file of one judge")
        self._recorded: dict[Game, Judgment] = {}
        for pair in pairs:
            for game, judgment in zip(_games(pair.game()), pair.judgments, strict=True):
                if self._recorded.setdefault(game, judgment) != judgment:
                    raise ValueError(
                        f"{path} judges pair {pair.pair_id!r} and another one with the same texts "
                        "differently; keep one of them"
                    )
        first: Any = pairs[0].judgments[0].judgment
        model = first.get("judge_model") if isinstance(first, dict) else None
        self._name = str(model or names[0])

    @property
    def name(self) -> str:
        return self._name

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "judge": "replay",
            "judge_model": self.name,
            "file": self._path.name,
            "fingerprint": fingerprint(self._path),
        }

    def judge_games(self, games: Sequence[Game]) -> Iterator[tuple[int, GameJudgment]]:
        """Recorded judgments in order. See `Judge`."""
        unknown = [game for game in games if game not in self._recorded]
        if unknown:
            raise ValueError(
                f"{self._path} holds no judgment of {len(unknown)} of {len(games)} games, "
                f"among them the one that asks {unknown[0].question[:60]!r}"
            )
        for index, game in enumerate(games):
            found = self._recorded[game]
            raw = found.judgment
            content = raw if isinstance(raw, dict) else {"judge_model": self.name, "response": raw}
            yield index, GameJudgment(found.decision, content)


def _games(game: Game) -> tuple[Game, Game]:
    return game, game.swapped()
