"""``python -m noisyrun``."""

import atexit
import os
import sys

from noisyrun.cli import main
from noisyrun.torchrun import several

if __name__ == "__main__":
    code = main()
    if several():
        # Threads that libraries leave behind abort a process once in a while as the interpreter goes, when all is
        # written; torchrun takes that for a failure and kills those that still write.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
