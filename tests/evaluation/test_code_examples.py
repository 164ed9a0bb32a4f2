"""Public examples of programming questions: read from the text, and programs checked on them."""

import pytest

from lm_merge.evaluation.code_examples import (
    Examples,
    extract_program,
    passes_public_examples,
    public_examples,
)
from lm_merge.evaluation.sandbox import SandboxLimits

LIMITS = SandboxLimits(cpu_s=1, wall_s=5.0, memory_bytes=256 << 20, file_bytes=1 << 16)

STDIN_QUESTION = """Add the numbers.

Sample Input 1:
2

1 2


Sample Output 1:

3

Explanation: so it is.

Sample Input 2:
1

5

Sample Output 2:

5
"""
CALL_QUESTION = """Return the largest number.

Example 1:

Input: nums = [1,3,2], strict = true
Output: 3
Explanation: 3 > 2.

Example 2:

Input: nums = [-1], strict = false
Output: -1
"""
SOLUTION = """Here it is:
```python
class Solution:
    def helper(self, nums):
        return max(nums)

    def largest(self, nums: List[int], strict: bool) -> int:
        return self.helper(nums)
```"""


def test_examples_are_read_from_the_question():
    assert public_examples(STDIN_QUESTION) == Examples("stdin", ("2\n1 2\n", "1\n5\n"), ("3", "5"))
    expected = Examples("call", ([[1, 3, 2], True], [[-1], False]), (3, -1))
    assert public_examples(CALL_QUESTION) == expected
    assert public_examples("What is the capital of Norway?") is None


def test_programs_are_checked_on_every_example(isolated):
    stdin, call = public_examples(STDIN_QUESTION), public_examples(CALL_QUESTION)
    assert passes_public_examples("input()\nprint(sum(map(int, input().split())))", stdin, LIMITS)
    assert not passes_public_examples("input()\ninput()\nprint(3)", stdin, LIMITS)
    assert passes_public_examples(SOLUTION, call, LIMITS)
    assert not passes_public_examples(SOLUTION.replace("max", "min"), call, LIMITS)
    assert not passes_public_examples("print(3)", call, LIMITS)
    assert not passes_public_examples("class Solution:\n    def f(self, a", call, LIMITS)


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```\na\n```\nbetter:\n```python\nb\n```", "b\n"),
        ("```python\na\n```\n```text\n3\n```\nDone.\n", "a\n"),
        ("```bash\npython x.py\n```\n```python\nb\n```\n", "b\n"),
        ("```Python3 title=x\nb\n```\n```c++\nx\n```\n```json\n{}\n```", "b\n"),
        ("Use ```x``` here.\n```py\nb\n```", "b\n"),
        ("So: ```python\nb```\nand that is it.", "b"),
        ("```python\nfirst\n```python\nb\n```\n", "b\n"),
        ("````python\ns = '```'\n```\n````\n", "s = '```'\n```\n"),
        ("```python\ncut off", "cut off"),
        ("no block at all", "no block at all"),
        ("<think>```\nx\n```</think>\nprint(1)", "\nprint(1)"),
        ("<think>```python\nx\n```", ""),
    ],
)
def test_the_program_is_the_last_block_of_python_after_the_thought(text, program):
    assert extract_program(text) == program


def test_a_thought_that_never_ended_passes_nothing(isolated):
    nothing_asked = Examples("stdin", ("",), ("",))
    assert passes_public_examples("pass", nothing_asked, LIMITS)
    assert not passes_public_examples("<think>pass", nothing_asked, LIMITS)
