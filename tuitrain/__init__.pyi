from tuitrain.watching import Pilot as Pilot
from tuitrain.watching import watch as watch

__version__: str
