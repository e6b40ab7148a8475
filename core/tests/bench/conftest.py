import sys
from pathlib import Path

# The tests of this folder share what they make up, and a browser with those of reports.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "report")]
