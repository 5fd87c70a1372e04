"""The live load as a whole: pgbench, both writers and the probes, started and stopped together."""

from __future__ import annotations

from contextlib import ExitStack

from trueup.demo.copies import Databases
from trueup.demo.folder import DemoFolder
from trueup.demo.ledger import Ledger
from trueup.demo.pgbench import PgbenchLoad
from trueup.demo.probes import Probes
from trueup.demo.shop_writer import ShopWriter
from trueup.demo.warehouse_writer import WarehouseWriter
from trueup.demo.writers import Writer

# Shares of the rate: half is pgbench, which changes three captured rows in a transaction.
_PGBENCH_SHARE, _SHOP_SHARE, _WAREHOUSE_SHARE = 0.5, 0.3, 0.2
_CHANGES_PER_PGBENCH_TRANSACTION = 3


class Load:
    """Everything that writes.

    :param rate: changes per second, about, in all.
    :param rows: what `create_sources` was given.
    """

    def __init__(
        self,
        folder: DemoFolder,
        databases: Databases,
        ledger: Ledger,
        *,
        seconds: int,
        rate: int,
        rows: int,
        seed: int,
    ) -> None:
        shop, warehouse = folder.dsn("shop"), folder.dsn("warehouse")
        self.writers: tuple[Writer, ...] = (
            ShopWriter(shop, ledger, seed=seed, changes_per_s=rate * _SHOP_SHARE, rows=rows),
            WarehouseWriter(warehouse, ledger, seed=seed, changes_per_s=rate * _WAREHOUSE_SHARE, rows=rows),
        )
        self.probes = Probes(shop, warehouse, databases.copy("orders", "warehouse"), ledger)
        self._pgbench = PgbenchLoad(
            shop,
            ledger,
            folder.log_dir / "pgbench.log",
            seconds=seconds,
            transactions_per_s=max(1, round(rate * _PGBENCH_SHARE / _CHANGES_PER_PGBENCH_TRANSACTION)),
        )
        self._running = False

    def start(self) -> None:
        """Begin."""
        self._running = True
        self._pgbench.start()
        for writer in self.writers:
            writer.start()
        self.probes.start()

    def finish_pgbench(self) -> int:
        """Wait until pgbench has ended; the others go on. Return its number of transactions."""
        return self._pgbench.finish()

    def stop(self) -> None:
        """End the rest, and raise the first thing that went wrong. Safe to repeat."""
        if not self._running:
            return
        self._running = False
        with ExitStack() as stack:  # all are asked to stop, whatever one of them raises
            stack.callback(self._pgbench.abandon)
            stack.callback(self.probes.stop)
            for writer in self.writers:
                stack.callback(writer.stop)

    @property
    def rolled_back(self) -> int:
        """Return how many transactions were rolled back on purpose."""
        return sum(writer.rolled_back for writer in self.writers)
