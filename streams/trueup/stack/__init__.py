"""The local stack: starts and stops real servers (Postgres, Kafka, Connect, registry).

The programs come from wheels and Maven artifacts. `LocalStack` is the door.
Production does not use this package: there each part is an address in the settings.
"""

from trueup.stack.local_stack import LocalStack, PartStatus, Phase, StackEvent
from trueup.stack.settings import StackAddresses, StackSettings

__all__ = ["LocalStack", "PartStatus", "Phase", "StackAddresses", "StackEvent", "StackSettings"]
