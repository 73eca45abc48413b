"""Where work is done: in this process, in several, or on a Ray cluster.

All engines do the same: `submit(item)` calls `work(shared, item, report)` somewhere and returns a
future of what it returns. `shared` goes to each worker once; `report(amount)` tells how far an item
is. A worker that is lost is replaced and its item begun again, so that work must be such that it
can be.
"""

from tlm_data.engines.engine import Engine as Engine
from tlm_data.engines.engine import EngineName as EngineName
from tlm_data.engines.engine import WorkerLostError as WorkerLostError
from tlm_data.engines.engine import start_engine as start_engine

__all__ = ["Engine", "EngineName", "WorkerLostError", "start_engine"]
