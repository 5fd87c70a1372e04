"""What can be chosen about a demo: the one place of its defaults and bounds. `runtime.cli_demo` offers them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

SECONDS_MIN: Final = 15  # two kills fit in
ROWS_MIN: Final = 1_000  # the shares of the tables are hundredths; below this some would be nearly empty
RATE_MIN: Final = 10


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """One demo.

    :param keep: leave everything running, and say how to reach it.
    :param seconds: how long the live load lasts.
    :param rows: that exist before TrueUp does.
    :param rate: changes per second, about, of all writers together.
    :param seed: makes the writers choose as in a former run; None draws one.
    :param json: the summary as JSON instead of tables.
    :param state_dir: where the demo keeps its state; a former demo's is removed.
    :param observe: with Prometheus, and look at what an SRE would see.
    :param port_base: first port of its own stack; a developer's own stack has 29,000 to 29,039.
    """

    keep: bool = False
    seconds: int = 60
    rows: int = 50_000
    rate: int = 200
    seed: int | None = None
    json: bool = False
    state_dir: Path = Path("var/demo")
    port_base: int = 29_400
    observe: bool = False
