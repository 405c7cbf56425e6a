"""What contexts of runs mean for one executor, and what came before the plan they name.

No I/O, no clock.
"""

from __future__ import annotations

from cloudburst.core.messages import Start, Trigger
from cloudburst.core.plan import Plan
from cloudburst.core.wire import unpack_context
from cloudburst.executor.events import FetchPlan, Route
from cloudburst.executor.share import make_route

ROUTES = 1000
"""Contexts kept understood."""


class Routes:
    """Understands contexts, as far as their plans are known.

    Args:
        address: the executor's own, by which contexts name it.

    Attributes:
        early: the messages that wait for a plan, by its id.
    """

    def __init__(self, address: str) -> None:
        self.early: dict[str, list[Start | Trigger]] = {}
        self._address = address
        self._plans: dict[str, Plan] = {}
        self._routes: dict[bytes, Route] = {}

    def __len__(self) -> int:
        return len(self._routes)

    def find(self, packed: bytes) -> Route | None:
        """What a context says; None if its plan is not known yet."""
        route = self._routes.get(packed)
        if route is not None:
            return route
        context = unpack_context(packed)
        plan = self._plans.get(context.plan)
        if plan is None:
            return None
        route = self._routes[packed] = make_route(context, packed, plan, self._address)
        if len(self._routes) > ROUTES:
            del self._routes[next(iter(self._routes))]
        return route

    def knows(self, packed: bytes) -> bool:
        """Whether a context can be understood without the KVS."""
        return packed in self._routes or unpack_context(packed).plan in self._plans

    def wait(self, message: Start | Trigger) -> list[FetchPlan]:
        """Keep a message until its plan is there: that is fetched, once."""
        plan_id = unpack_context(message.context).plan
        waiting = self.early.setdefault(plan_id, [])
        waiting.append(message)
        return [FetchPlan(plan_id)] if len(waiting) == 1 else []

    def learn(self, plan: Plan) -> list[Start | Trigger]:
        """A plan is there. Returns the messages that waited for it."""
        self._plans[plan.id] = plan
        return self.early.pop(plan.id, [])

    def validate(self) -> None:
        """Check the invariants; raises AssertionError if one does not hold."""
        assert self.early.keys().isdisjoint(self._plans)
        assert len(self._routes) <= ROUTES
