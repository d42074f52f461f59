"""The walls that the attacks are tried against: all, and what is left where the kernel offers less."""

from functools import partial

import pytest

from fusion_hf.tasks import sandbox

# Forced, because some leave root without namespaces; no attack aims at anything but what its test made.
run_python = partial(sandbox.run_python, as_root=True)

WALLS = {
    "all": (),
    "no namespaces": ("namespaces",),
    "no namespaces, no Landlock": ("namespaces", "landlock"),
}
walls = pytest.mark.parametrize("without", WALLS.values(), ids=WALLS)
# Where this kernel has neither, only hooks in Python are left, and those are not attacked with native code.
kernel_walls = pytest.mark.parametrize("without", list(WALLS.values())[:2], ids=list(WALLS)[:2])


def holding(without):
    """What holds with these walls left out."""
    return run_python("", without=without, timeout=20).walls
