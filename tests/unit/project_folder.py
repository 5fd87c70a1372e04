"""A small valid project for the tests of registrations: written to a folder, then spoiled in one place."""

from pathlib import Path

import msgspec

from trueup.model.columns import CapturedTable, Column
from trueup.model.errors import ConfigurationError
from trueup.model.registration import Table

SHOP_SYSTEM = """\
system: shop
kind: postgresql
dsn: ${env:SHOP_DSN}
capture_dsn: ${env:SHOP_CAPTURE_DSN}
"""

REPORTING = """\
replica: reporting
kind: postgresql
dsn: ${env:REPORTING_DSN}
"""

SHOP_REPLICA = """\
replica: shop
kind: postgresql
dsn: ${env:SHOP_WRITER_DSN}
ddl_dsn: ${env:SHOP_DSN}
"""

ORDERS = """\
table: orders
owner: {system: shop, team: order desk}
source: {table: public.orders}
key: [order_id]
version: log
cause: {column: change_reason}
window: {within: 5s}
checks:
  - {column: amount, min: 0}
replicas:
  - replica: reporting
    table: sales.orders
    columns:
      id: order_id
      amount_eur: {from: amount, cast: "numeric(12,2)"}
      email: {from: email, mask: sha256}
"""

CUSTOMERS = """\
table: customers
owner: {system: shop}
source: {table: public.customers}
key: [customer_id]
replicas:
  - {replica: reporting}
"""

FILES = {
    "connectors/systems/shop.yaml": SHOP_SYSTEM,
    "connectors/replicas/reporting.yaml": REPORTING,
    "connectors/replicas/shop.yaml": SHOP_REPLICA,
    "schemas/tables/customers.yaml": CUSTOMERS,
    "schemas/tables/orders.yaml": ORDERS,
}

ORDERS_CAPTURED = CapturedTable(
    table="orders",
    key=("order_id",),
    columns=(
        Column(name="order_id", pg_type="bigint", nullable=False),
        Column(name="amount", pg_type="numeric(12,2)", nullable=True),
        Column(name="email", pg_type="text", nullable=True),
        Column(name="change_reason", pg_type="text", nullable=True),
        Column(name="status", pg_type="public.order_status", nullable=True, kind="e"),
        Column(name="tags", pg_type="text[]", nullable=True),
        Column(name="revision", pg_type="integer", nullable=False),
        Column(name="updated_at", pg_type="timestamp with time zone", nullable=False),
    ),
)


def write_project(folder: Path, **changed: str) -> Path:
    """Write FILES, with `orders=text` and the like (names of `file_of`) in place of the valid text."""
    files = FILES | {file_of(name): text for name, text in changed.items()}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def file_of(name: str) -> str:
    """`orders` -> schemas/tables/orders.yaml, `system_shop` and `replica_shop` likewise."""
    kind, _, rest = name.partition("_")
    folders = {"system": "connectors/systems", "replica": "connectors/replicas"}
    return f"{folders[kind]}/{rest}.yaml" if kind in folders else f"schemas/tables/{name}.yaml"


def spoiled(text: str, old: str, new: str) -> str:
    """Replace what must be there exactly once."""
    assert text.count(old) == 1, old
    return text.replace(old, new)


def parts(error: ConfigurationError) -> tuple[str, int | None, str | None]:
    return error.file, error.line, error.field


def table_of(**changes: object) -> Table:
    """A valid table, with fields replaced by plain data."""
    plain: dict[str, object] = {
        "table": "orders",
        "owner": {"system": "shop"},
        "source": {"table": "public.orders"},
        "key": ["order_id"],
    }
    return msgspec.convert(plain | changes, Table)
