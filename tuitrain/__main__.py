"""`python -m tuitrain` is `tuitrain`."""

import sys

from tuitrain.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
