"""Where the files beside the code are: in the wheel under `trueup/_data`, in a checkout at its root."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def data_path(relative: str) -> Path:
    """Return the path of a file or folder such as `infra/local`.

    The wheel is looked at first, so that an installed TrueUp never reads a checkout it happens to lie in.
    """
    packaged = _PACKAGE / "_data" / relative
    return packaged if packaged.exists() else _PACKAGE.parent.parent / relative
