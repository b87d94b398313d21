"""Every node of every classifier of torchvision: can it be named as a layer, and does the name lead back to it?

    OMP_NUM_THREADS=1 python tests/benchmarks/node_names.py

Builds all 80 networks without their weights, traces them, and writes and reads each name. Takes about half a minute.
Exit code 1 where a name does not come back. The tests do so with one network of each family.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from without_weights import classifiers, names_that_do_not_come_back


def main() -> int:
    lost = {name: names for name in classifiers() if (names := names_that_do_not_come_back(name))}
    for name, nodes in lost.items():
        print(f"{name}: {len(nodes)}, such as {nodes[0]}")
    print(f"{len(classifiers())} networks, {sum(map(len, lost.values()))} names that do not come back")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
