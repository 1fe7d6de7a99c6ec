"""How the processes of a run talk: rank 0 announces what comes next, the others wait for it.

Everything here goes through gloo and the host's memory, also where gradients go through NCCL: announcements must not
queue behind a GPU's work. An announcement comes at least every few seconds, also while training is paused or rank 0
saves, samples or evaluates: gloo and NCCL end a group that is silent for longer than its timeout.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from enum import IntEnum
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from tuitrain.engine.ranks.place import Place
from tuitrain.errors import TuitrainError, UsageError

LONGEST_SILENCE = 5.0
"""Seconds."""
LINE = 128
"""Most bytes of the words about a process."""
TRANSPORT = ("gloo", "nccl", "connection", "timed out", "timeout", "rank ", "process group")
"""What an error of a collective speaks of; torch has no class for it that all backends use."""
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


class Order(IntEnum):
    """What all processes do next."""

    NOTHING = 0
    BUILD = 1
    MEET = 2
    LEARN = 3
    FREEZE = 4
    THAW = 5
    END = 6
    EVALUATE = 7
    SAMPLE = 8
    AVERAGE = 9


class Lost(TuitrainError):
    """Another process of the run no longer answers."""


@contextlib.contextmanager
def losing() -> Iterator[None]:
    """A context in which torch's error of a collective becomes `Lost`."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if not any(word in str(error).lower() for word in TRANSPORT):
            raise
        raise Lost(f"a process of this run is gone or does not answer ({_first_line(error)})") from error


class Group:
    """All processes of a run. Every method but `close` is a collective: all ranks call it, in the same order.

    On rank 0 that is in `then` of an announcement, so that nothing else is announced meanwhile. Raises Lost from then
    on once a process is gone.
    """

    def __init__(self, place: Place) -> None:
        """Meet the other processes, unless the script that trains has done so already."""
        self.place = place
        self.on_lost: Callable[[str], None] = lambda why: None
        """Called from another thread when a process is found gone while nothing was asked of it."""
        self.listening = True
        """Whether the other ranks wait for announcements, so that a long silence has to be broken."""
        limit = timedelta(seconds=place.timeout)
        self._met = not dist.is_initialized()
        try:
            if self._met:
                _meet(place, limit)
            # Not the group of the gradients: announcements come at any moment, from another thread.
            self._talk: Any = dist.new_group(backend="gloo", timeout=limit)
        except (RuntimeError, ValueError) as error:
            raise Lost(f"the {place.size} processes did not find each other: {_first_line(error)}") from None
        self._lock = threading.Lock()
        self._spoke = time.monotonic()
        self._closed = threading.Event()
        self._beat = threading.Thread(target=self._break_silence, name="announcing", daemon=True)
        if place.rank == 0:
            self._beat.start()

    def announce(self, order: Order, numbers: Sequence[float] = (), then: Callable[[], None] = lambda: None) -> None:
        """On rank 0: have the others do this, with up to four numbers; `then` is what rank 0 has to say about it."""
        with self._lock:
            self._announce(order, numbers)
            then()

    def next_order(self) -> tuple[Order, list[float]]:
        """On the other ranks: wait for what comes next."""
        while True:
            message = torch.zeros(5, dtype=torch.float64)
            self.spread(message)
            if (order := Order(int(message[0]))) is not Order.NOTHING:
                return order, message[1:].tolist()

    def spread(self, tensor: Tensor) -> None:
        """Give all ranks what rank 0 has in `tensor`, which lies in the host's memory."""
        with losing():
            self._check()
            dist.broadcast(tensor, 0, group=self._talk)

    def hand_out(self, data: bytes) -> None:
        """On rank 0: give the others these bytes, at least one."""
        self.spread(torch.tensor([len(data)], dtype=torch.int64))
        self.spread(torch.frombuffer(bytearray(data), dtype=torch.uint8))

    def receive(self) -> bytes:
        """On the other ranks: return what rank 0 hands out."""
        length = torch.zeros(1, dtype=torch.int64)
        self.spread(length)
        block = torch.empty(int(length), dtype=torch.uint8)
        self.spread(block)
        return block.numpy().tobytes()

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensor of each rank, in their order."""
        parts = [torch.empty_like(tensor) for _ in range(self.place.size)]
        with losing():
            self._check()
            dist.all_gather(parts, tensor.contiguous(), group=self._talk)
        return parts

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum over all ranks. That of a tensor on a GPU goes through the group of the gradients."""
        with losing():
            self._check()
            dist.all_reduce(tensor, group=None if tensor.is_cuda else self._talk)
        return tensor

    def introduce(self, device: str) -> list[str]:
        """Return in words where each rank computes."""
        words = f"{socket.gethostname()}, {device}, pid {os.getpid()}".encode()[:LINE]
        mine = torch.zeros(LINE, dtype=torch.uint8)
        mine[: len(words)] = torch.frombuffer(bytearray(words), dtype=torch.uint8)
        return [bytes(line.numpy()).rstrip(b"\0").decode(errors="replace") for line in self.gather(mine)]

    def close(self) -> None:
        """Leave the group; the script's own, which was there before, stays."""
        self._closed.set()
        if self._beat.is_alive():
            self._beat.join(self.place.timeout)
        if dist.is_initialized():
            with contextlib.suppress(ValueError):  # the script has destroyed all groups
                dist.destroy_process_group(None if self._met else self._talk)
        # Its connections are closed with the last reference; the others would wait for this process otherwise.
        self._talk = None

    def _check(self) -> None:
        if self._talk is None:
            raise Lost("this process has left the group")

    def _announce(self, order: Order, numbers: Sequence[float] = ()) -> None:
        message = torch.zeros(5, dtype=torch.float64)
        message[0] = float(order)
        message[1 : 1 + len(numbers)] = torch.tensor(numbers, dtype=torch.float64)
        self.spread(message)
        self._spoke = time.monotonic()

    def _break_silence(self) -> None:
        """Say something when nothing was said for a while: it keeps the group alive, and finds out who is gone."""
        longest = min(LONGEST_SILENCE, self.place.timeout / 4)
        while not self._closed.wait(longest / 2):
            try:
                with self._lock:
                    silent = time.monotonic() - self._spoke
                    if self.listening and not self._closed.is_set() and silent > longest:
                        self._announce(Order.NOTHING)
            except Lost as lost:
                self.on_lost(str(lost))
                return


def _meet(place: Place, limit: timedelta) -> None:
    missing = [name for name in ADDRESS if not os.environ.get(name)]
    if missing:
        raise UsageError(f"RANK is set and {' and '.join(missing)} is not; start the processes with torchrun")
    # Under a name of its own in torchrun's store: what the processes of an earlier start have left there leads to ports
    # that nobody listens at any more.
    store, rank, size = next(rendezvous("env://", timeout=limit))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=limit,
                            store=PrefixStore(f"start {place.start}", store), rank=rank, world_size=size)


def _first_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
