"""`skydeck serve`.

starting    is there an engine, and starting one in the background; light
service     the engine's process
"""

from core.config import Config
from core.serve.starting import LOCK, ensure, running

__all__ = ["LOCK", "ensure", "run", "running"]


def run(config: Config, *, background: bool = False, lock: int | None = None) -> None:
    """Be the engine: core.serve.service.run, imported when it is needed."""
    from core.serve import service

    service.run(config, background=background, lock=lock)
