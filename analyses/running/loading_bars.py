"""No progress bar of loading weights among the results of a command."""

import os
import sys


def without_loading_bars() -> None:
    """Turn those bars off, whether transformers is imported already or later."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # read when it is imported
    if "transformers" in sys.modules:
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
