"""Objects kept between cells: within the budget, the least recently used goes first."""

import sweep_cells
from sweep_cells import Settings

from lm_merge.runs import BETWEEN_CELLS, KeptObjects, sweep


class Loader:
    """Loads texts whose size is their length, and counts."""

    def __init__(self, budget: int) -> None:
        self.kept, self.loaded = KeptObjects(budget), []

    def get(self, text: str, **options) -> str:
        def load() -> str:
            self.loaded.append(text)
            return text

        return self.kept.get(text[0], load, len, **options)


def test_the_least_recently_used_goes_first_and_the_budget_holds():
    loader = Loader(10)
    for text in ("aaaa", "bbbb", "aaaa", "cccc", "aaaa", "bbbb"):
        assert loader.get(text) == text
        assert loader.kept.n_bytes <= 10
    assert loader.loaded == ["aaaa", "bbbb", "cccc", "bbbb"]  # b went for c: a was used since
    assert loader.kept.keys() == ("a", "b")


def test_what_exceeds_the_budget_is_given_and_not_kept():
    loader = Loader(5)
    assert loader.get("a" * 5) == "a" * 5
    assert loader.get("b" * 6) == "b" * 6
    assert loader.kept.keys() == ("a",)
    nothing = Loader(0)
    assert [nothing.get("aa"), nothing.get("aa")] == ["aa", "aa"]
    assert nothing.loaded == ["aa", "aa"]


def test_room_is_made_before_loading_and_by_a_lower_budget():
    loader = Loader(10)
    loader.get("aaaa")
    loader.get("bbbb")
    sizes = []

    def load() -> str:
        sizes.append(loader.kept.n_bytes)
        return "cccc"

    loader.kept.get("c", load, len, expected_bytes=4)
    assert sizes == [4]  # old and new together stay within 10
    loader.kept.budget_bytes = 4
    assert loader.kept.keys() == ("c",)


def test_cells_of_one_process_share_what_is_loaded(tmp_path):
    loaded = []

    def function(config, record):
        BETWEEN_CELLS.get("model", lambda: loaded.append(config.alpha) or "model", len)
        return sweep_cells.computed(config, record)

    for keep_bytes, n_loads in ((0, 3), (5, 1)):
        loaded.clear()
        settings = [Settings(alpha=alpha, folder=tmp_path) for alpha in (0.1, 0.2, 0.3)]
        root = tmp_path / f"runs{keep_bytes}"
        sweep("similarity", settings, function, root=root, keep_bytes=keep_bytes)
        assert len(loaded) == n_loads
    BETWEEN_CELLS.budget_bytes = 0
    assert BETWEEN_CELLS.keys() == ()
