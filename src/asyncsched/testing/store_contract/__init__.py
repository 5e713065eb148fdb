"""What every store must do, as tests: whoever writes a store inherits ``StoreContract`` and says where it is tried.

Each promise is one test with its name, in the file of its noun: tasks, fires, claims, acknowledgements, ...; a new one
joins its noun. ``StoreContract`` is all of them.
"""

from __future__ import annotations

import pkgutil
from collections.abc import AsyncIterator, Callable
from typing import ClassVar

try:
    import hypothesis as _hypothesis  # noqa: F401 - said here by name, rather than by the first file that needs it
    import pytest
    import pytest_asyncio
except ImportError as missing:
    message = f"the store contract needs {missing.name}: pip install 'asyncsched[testing]'"
    raise ImportError(message, name=missing.name) from missing

# Before they are imported: a promise that is broken is to show what was expected and what was there.
pytest.register_assert_rewrite(*(f"{__name__}.{found.name}" for found in pkgutil.iter_modules(__path__)))

from asyncsched.stores import Store  # noqa: E402
from asyncsched.testing.store_contract._acks import AckPromises  # noqa: E402
from asyncsched.testing.store_contract._amendments import AmendmentPromises  # noqa: E402
from asyncsched.testing.store_contract._at_hand import AtHandPromises  # noqa: E402
from asyncsched.testing.store_contract._backfill import BackfillPromises  # noqa: E402
from asyncsched.testing.store_contract._batches import BatchPromises  # noqa: E402
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench, HandClock, SharedBench  # noqa: E402
from asyncsched.testing.store_contract._bounds import BoundPromises  # noqa: E402
from asyncsched.testing.store_contract._cancels import CancelPromises  # noqa: E402
from asyncsched.testing.store_contract._claims import ClaimPromises  # noqa: E402
from asyncsched.testing.store_contract._control import ControlPromises  # noqa: E402
from asyncsched.testing.store_contract._fires import FirePromises  # noqa: E402
from asyncsched.testing.store_contract._graphs import GraphPromises  # noqa: E402
from asyncsched.testing.store_contract._history import HistoryPromises  # noqa: E402
from asyncsched.testing.store_contract._joins import JoinPromises  # noqa: E402
from asyncsched.testing.store_contract._keeping import KeepingPromises  # noqa: E402
from asyncsched.testing.store_contract._keys import KeyPromises  # noqa: E402
from asyncsched.testing.store_contract._limit_law import LimitLaw  # noqa: E402
from asyncsched.testing.store_contract._met import MetPromises  # noqa: E402
from asyncsched.testing.store_contract._nodes import NodePromises  # noqa: E402
from asyncsched.testing.store_contract._once import OnceFirePromises, OncePromises, SharedOncePromises  # noqa: E402
from asyncsched.testing.store_contract._order_law import OrderLaw  # noqa: E402
from asyncsched.testing.store_contract._overrides import OverridePromises  # noqa: E402
from asyncsched.testing.store_contract._presence import PresencePromises, SharedPresencePromises  # noqa: E402
from asyncsched.testing.store_contract._queues import QueuePromises  # noqa: E402
from asyncsched.testing.store_contract._rates import RatePromises  # noqa: E402
from asyncsched.testing.store_contract._renames import RenamePromises  # noqa: E402
from asyncsched.testing.store_contract._roster import RosterPromises  # noqa: E402
from asyncsched.testing.store_contract._shared import SharedPromises  # noqa: E402
from asyncsched.testing.store_contract._tasks import TaskPromises  # noqa: E402
from asyncsched.testing.store_contract._transactions import TransactionPromises  # noqa: E402
from asyncsched.testing.store_contract._uncounted import UncountedPromises  # noqa: E402
from asyncsched.testing.store_contract._values import ValuePromises  # noqa: E402

__all__ = ["SECOND", "START_US", "Bench", "HandClock", "SharedBench", "SharedStoreContract", "StoreContract"]


@pytest.mark.asyncio  # in pytest-asyncio's strict mode too
class StoreContract(
    NodePromises, TaskPromises, AmendmentPromises, FirePromises, ClaimPromises, AckPromises, KeyPromises, RatePromises,
    QueuePromises, BoundPromises, OncePromises, OnceFirePromises, CancelPromises, HistoryPromises, BackfillPromises,
    GraphPromises, JoinPromises, AtHandPromises, KeepingPromises, RosterPromises,
    PresencePromises, OverridePromises, RenamePromises, ValuePromises, BatchPromises, OrderLaw, LimitLaw,
    TransactionPromises,
):  # fmt: skip
    """Every promise of a store, as a test each. A class ``Test...`` that inherits it has the fixture ``make_bench``.

    It is for stores that one process uses at a time; for others there is ``SharedStoreContract``.

    ```python
    class TestMyStore(StoreContract):
        @pytest.fixture
        def make_bench(self, tmp_path_factory):
            return lambda: MyBench(tmp_path_factory.mktemp("mine"))
    ```
    """

    tried_beside_others: ClassVar[bool] = False
    tried_in_transactions: ClassVar[bool] = False
    """Whether runs may work in transactions of the store: a class that tries one that ``transacts`` says so."""

    @pytest.fixture
    def make_bench(self) -> Callable[[], Bench]:
        """Makes an empty bench, as often as it is called. Write your own."""
        pytest.fail(
            "the class lacks the fixture 'make_bench': it returns a function that makes an empty Bench of yours"
        )

    @pytest_asyncio.fixture
    async def bench(self, make_bench: Callable[[], Bench]) -> AsyncIterator[Bench]:
        """An empty bench."""
        bench = make_bench()
        yield bench
        await bench.clear()

    @pytest_asyncio.fixture
    async def store(self, bench: Bench) -> AsyncIterator[Store]:
        """An empty store, opened by the node ``"n1"``."""
        store = await bench.enter("n1")
        yield store
        await store.close()

    async def test_it_is_tried_as_what_it_says_it_is(self, store: Store) -> None:
        assert store.shared is self.tried_beside_others, "stores that are shared inherit SharedStoreContract"
        said = f"tried_in_transactions = {store.transacts} in the class of this test"
        assert store.transacts is self.tried_in_transactions, said


class SharedStoreContract(
    StoreContract,
    MetPromises,
    SharedPromises,
    SharedPresencePromises,
    SharedOncePromises,
    ControlPromises,
    UncountedPromises,
):
    """The same, and what a store must do that several processes may use at once. Its bench is a ``SharedBench``."""

    tried_beside_others = True
