"""`python -m core.serve [--background] [--lock FD]`: how an engine is started in the background."""

import argparse
import logging

from core import config, serve
from core.errors import Unavailable

parser = argparse.ArgumentParser(prog="python -m core.serve", description=__doc__)
parser.add_argument("--background", action="store_true", help="end when there is nothing left to do")
parser.add_argument("--lock", type=int, metavar="FD", help="the engine's lock, taken by whoever starts this")
given = parser.parse_args()
logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
logging.getLogger("asyncssh").setLevel(logging.WARNING)
try:
    serve.run(config.load(), background=given.background, lock=given.lock)
except Unavailable as bad:
    logging.getLogger("core.serve").info("%s", bad.title)
