"""Convergence of objects, one at a time each: queue, lock, named steps, outcome."""

from hostd.drivers import Driver, Guests, Happened, Images, Networks, Step, StepContext

__all__ = ["Driver", "Guests", "Happened", "Images", "Networks", "Step", "StepContext"]
