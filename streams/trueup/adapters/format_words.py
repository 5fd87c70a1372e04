"""The words of messages about registrations: names of nodes, examples, and what comes in a later version.

STOP AND READ: a field that enters model/registration.py leaves NOT_YET_FIELDS (a test compares).
"""

from __future__ import annotations

from typing import Any, Final

NODE_WORDS: Final[dict[str, str]] = {
    "System": "a system registration",
    "Replica": "a replica registration",
    "Table": "a table registration",
    "Owner": "the owner of a table",
    "Source": "the source of a table",
    "Conflicts": "the conflicts of a table",
    "ColumnVersion": "a version by column",
    "Cause": "the cause of a table",
    "Window": "a window",
    "Check": "a check",
    "Cases": "the cases of a table",
    "ColumnRule": "the rule of a replica column",
    "Copy": "a copy",
    "Settings": "trueup.toml",
    "KafkaSettings": "section [kafka]",
    "ConnectSettings": "section [connect]",
    "RegistrySettings": "section [registry]",
    "WorkerSettings": "section [worker]",
    "RulesSettings": "section [rules]",
    "Length": "the length of a check",
    "Comparison": "the comparison of a check",
    "Age": "the age of a check",
}

EXAMPLES: Final[dict[str, str]] = {
    "system": "shop",
    "replica": "reporting",
    "kind": "postgresql",
    "dsn": "${env:SHOP_DSN}",
    "capture_dsn": "${env:SHOP_CAPTURE_DSN}",
    "ddl_dsn": "${env:SHOP_DSN}",
    "epoch": "1",
    "owner": "{system: shop, team: order desk}",
    "writers": "[shop, crm]",
    "conflicts": "{policy: last_write_wins}",
    "policy": "last_write_wins",
    "source": "{table: public.orders}",
    "table": "public.orders",
    "key": "[order_id]",
    "version": "log",
    "column": "updated_at",
    "uncertainty": "2s",
    "cause": "{column: change_reason}",
    "window": "{within: 5s, objective: 99.9%}",
    "within": "5s",
    "objective": "99.9%",
    "checks": "[{column: amount, min: 0}]",
    "cases": "{decide_within: 4h}",
    "decide_within": "4h",
    "one_of": "[EUR, USD]",
    "matches": "'[A-Z]{2}'",
    "length": "{min: 1, max: 80}",
    "compare": "{at_least: ordered_at}",
    "age": "{max: 24h, ahead: 2s}",
    "ahead": "2s",
    "function": "vat_matches_country",
    "module": '"rules.py"',
    "replicas": "[{replica: reporting}]",
    "columns": "{id: order_id}",
    "from": "amount",
    "cast": '"numeric(12,2)"',
}

# Fields of which a node needs one; the first is the usual one.
ONE_NEEDED: Final[dict[str, tuple[str, ...]]] = {"Table": ("owner", "writers")}

# Design sections 4 to 11: fields and values that later issues bring.
NOT_YET_FIELDS: Final[dict[str, frozenset[str]]] = {
    "System": frozenset({"heartbeat"}),
    "Table": frozenset({"effects", "rules", "requests"}),
    "Check": frozenset({"rule", "when"}),
    "Copy": frozenset({"rules", "effects", "filter"}),
}

# Fields that are written in another place than people look for them.
ELSEWHERE: Final[dict[tuple[str, str], str]] = {
    ("Table", "policy"): "write it under conflicts",
    ("Table", "columns"): "write it at each replica of the table",
    ("Table", "mask"): "write it at the column of each replica: columns: {email: {from: email, mask: sha256}}",
    ("ColumnVersion", "policy"): "write it under conflicts of the table",
    ("ColumnVersion", "prefer"): 'write it under conflicts of the table: "policy: prefer" and "system: NAME"',
}
NOT_YET_VALUES: Final[frozenset[tuple[str, Any]]] = frozenset(
    {("kind", "mariadb"), ("kind", "mysql"), ("mask", "hmac")}
)
