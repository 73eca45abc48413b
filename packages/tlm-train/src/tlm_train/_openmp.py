"""How torch's idle threads wait; takes effect if it is imported before torch is.

Between two operations GNU OpenMP's threads spin for milliseconds. On a machine that does other work
as well they take the cores from the threads that they wait for, and a step takes ten times as long.
With a short spin they then sleep, which costs nothing measurable on an idle machine.
"""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
