"""Every analysis without options: it measures what is bundled, or names the option that it needs."""

import pytest

from analyses import ANALYSES
from analyses.running.command import command

OF_ONES_OWN = {  # analysis -> the first option that only its reader can give
    "encoder_check": "pairs",
    "finetune": "data",
    "judge": "data",
    "languages": "data",
    "rounds": "data",
    "similarity_merging": "data",
    "transfer_matrix": "data",
}


@pytest.mark.parametrize("name", [name for name in ANALYSES if name not in OF_ONES_OWN])
def test_it_is_run_as_it_stands(name):
    reached = []
    command(name, [], using=lambda *given: reached.append(given))
    ((of, _, given, _),) = reached
    assert of == name
    assert given == {}


@pytest.mark.parametrize("name", OF_ONES_OWN)
def test_an_option_that_is_needed_is_named(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        command(name, [], using=lambda *given: pytest.fail("nothing can be run"))
    assert stopped.value.code == 2
    required = capsys.readouterr().err.partition("arguments are required: ")[2]
    assert OF_ONES_OWN[name] in required.partition(" (options")[0].split(", ")
