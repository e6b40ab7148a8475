import sys
from pathlib import Path

# The tests of this folder share their plugins.
sys.path.insert(0, str(Path(__file__).parent))
