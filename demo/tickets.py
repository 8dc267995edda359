"""What visitors look at, within a limit for all of them together.

The state of a session holds a ticket only. What the ticket stands for goes with the session, or
earlier, when others need the room: then what was used longest ago goes first.
"""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from shown import Shown

_MOST_BYTES = 2 << 30


class Ticket:
    """Stands for what a session looks at."""


class Tickets:
    """What all sessions look at; safe to use from several threads.

    Args:
        most_bytes: Limit for all together; what came last is kept even if it alone is larger.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._held: WeakKeyDictionary[Ticket, Shown] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def keep(self, shown: Shown) -> Ticket:
        """Takes in what a session now looks at, and lets go of others until there is room."""
        ticket = Ticket()
        with self._lock:
            self._held[ticket] = shown
            held = dict(self._held)
            total = sum(other.nbytes for other in held.values())
            for other in held:
                if total <= self._most_bytes or other is ticket:
                    break
                total -= self._held.pop(other).nbytes
        return ticket

    def get(self, ticket: Ticket | None) -> Shown | None:
        """What a ticket stands for; `None` for none, or where it had to go."""
        with self._lock:
            shown = None if ticket is None else self._held.pop(ticket, None)
            if shown is not None:
                self._held[ticket] = shown  # Used last.
            return shown
