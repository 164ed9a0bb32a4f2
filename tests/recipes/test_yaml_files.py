"""What people write into a recipe's file is read, or refused in one line with file and place."""

import pytest

from lm_merge.errors import one_line
from lm_merge.recipes import Recipe

FANS = "\n".join(
    ["donors:", "- &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"- &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"host: a\n\tdonors: [b]\n", r"indent with spaces \(line 2, column 1\)"),
        (b"\xff\xfeh\x00", "is no text in UTF-8"),
        (b"host: a\n---\nhost: b\n", r"several documents.*line 2"),
        (b"host: a\ndonors: [b]\nhost: c\n", r"the key 'host' is there twice.*line 3"),
        (b"host: a\ndonors: [{model: b, model: c}]\n", "the key 'model' is there twice"),
        (f"host: a\nlayers: [1]\n{FANS}".encode(), "aliases .* allowed are 1e.05"),
        (b"host: &a [*a]\n", "an alias is inside of what it names"),
        (b"host: " + b"[" * 5000, "nested too deeply"),
        (b"host: 2001-99-99\n", "put the value in quotes"),
        (b"? [a, b]\n: 3\n", "unhashable key"),
        (b"host: a\x00b\n", "special characters are not allowed"),
        (b"", "not a mapping of keys"),
        (b"host: a\ndonors: [b]\nlayers: [one]\nalpha: 0.5\n", "layers.0='one'"),
        (b"host: 3\ndonors: [b]\nlayers: [1]\n", "host=3: Input should be a valid string"),
        (b"space: [weights]\nhost: a\ndonors: [b]\n", r"space=\['weights'\] is unknown"),
    ],
)
def test_a_file_that_is_wrong_is_named_in_one_short_line(content, message, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        Recipe.load(path)
    line = one_line(caught.value)
    assert line.startswith(f"recipe {path}")
    assert "\n" not in line
    assert len(line) < 2000


def test_wrong_values_behind_aliases_make_a_short_message(tmp_path):
    path = tmp_path / "r.yaml"
    few = FANS.split("- &a4")[0]
    path.write_text(f"host: a\nlayers: [1]\nalpha: 0.5\n{few}\n")
    with pytest.raises(ValueError, match=r"donors.0=") as caught:
        Recipe.load(path)
    assert len(one_line(caught.value)) < 3000


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OSError, match="no-such.yaml' is no file"):
        Recipe.load(tmp_path / "no-such.yaml")


def test_merge_keys_may_be_overridden(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(
        "host: &h {model: a, dtype: float32}\ndonors: [{<<: *h, model: b}]\nlayers: [1]\nalpha: 0.5\n"
    )
    recipe = Recipe.load(path)
    assert recipe.donors[0] == recipe.host.model_copy(update={"model": "b"})
