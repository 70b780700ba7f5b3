"""The drill, and the studies of the tests of the DAG that it runs."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "workflow")]
