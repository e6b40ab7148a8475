"""``python -m noisyrun``."""

import sys

from noisyrun.cli import main

if __name__ == "__main__":
    sys.exit(main())
