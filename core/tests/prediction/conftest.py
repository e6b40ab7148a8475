import sys
from pathlib import Path

# The tests of this folder share what they make up.
sys.path.insert(0, str(Path(__file__).parent))
