"""A team of threads that walks through every token together, inside compiled code.

The products of one token last tens of microseconds: too short to wake a thread for each. Here
the helpers are woken once per token, by a semaphore of the C library, and then *meet* the
leader wherever one needs what another wrote: each waits in a loop that reads one word. A helper
lives in one call of compiled code from its first token to its last. It never waits for Python's
lock, and no interrupt can come between two meetings of a token.

The team shares an int64 array, its *board*: the number of arrivals, whether the team is
dissolved, how many of it take the token, and the semaphores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from spikegpt_neuro.arithmetic.jit import kernel

Board = NDArray[np.int64]

# Places on the board, in words. What one thread writes and others read has a cache line of its
# own; 16 words hold the semaphore of any C library.
WORD_BYTES = 8
ARRIVALS, DISSOLVED, CALLED, SEMAPHORES, SEMAPHORE_WORDS = 0, 8, 9, 16, 16

PATIENCE = 4096
"""Reads after which a waiting thread offers its core to other programs: some microseconds."""

_sem_init: Any = types.ExternalFunction(
    "sem_init", types.int32(types.intp, types.int32, types.uint32)
)
_sem_post: Any = types.ExternalFunction("sem_post", types.int32(types.intp))
_sem_wait: Any = types.ExternalFunction("sem_wait", types.int32(types.intp))
_sched_yield: Any = types.ExternalFunction("sched_yield", types.int32())


def new_board(threads: int) -> Board:
    """The board of a team of ``threads``, the leader (thread 0) among them."""
    board = np.zeros(SEMAPHORES + threads * SEMAPHORE_WORDS, np.int64)
    _create_semaphores(board, threads)
    return board


def dissolve(board: Board, threads: int) -> None:
    """Let every helper return: the waiting ones, and those that a failed leader left alone."""
    board[DISSOLVED] = 1
    call_helpers(board, threads)


@kernel
def call_helpers(board: Board, threads: int) -> None:
    """The leader's word that a token begins, for ``threads`` of the team.

    Nobody meets now: arrivals may go on from where so many count in whole meetings.
    """
    board[CALLED] = threads
    board[ARRIVALS] = (board[ARRIVALS] + threads - 1) // threads * threads
    for helper in range(1, threads):
        _sem_post(_semaphore(board, helper))


@kernel
def await_call(board: Board, helper: int) -> int:
    """Sleep until the leader calls; how many it called, 0 where there will be no more tokens."""
    while _sem_wait(_semaphore(board, helper)) != 0:
        pass  # a signal ended the wait
    called: int = _read(_address(board, CALLED))
    return 0 if _read(_address(board, DISSOLVED)) != 0 else called


@kernel
def meet(board: Board, threads: int) -> None:
    """Wait until all threads are here; each then sees what the others wrote before."""
    arrivals = _address(board, ARRIVALS)
    awaited = (_increment(arrivals) // threads + 1) * threads
    reads = 0
    while _read(arrivals) < awaited:
        reads += 1
        if reads > PATIENCE:
            if _read(_address(board, DISSOLVED)) != 0:
                return
            _sched_yield()


@kernel
def _create_semaphores(board: Board, threads: int) -> None:
    for helper in range(1, threads):
        _sem_init(_semaphore(board, helper), 0, 0)


@kernel
def _semaphore(board: Board, helper: int) -> int:
    return _address(board, SEMAPHORES + helper * SEMAPHORE_WORDS)


@kernel
def _address(board: Board, word: int) -> int:
    address: int = board.ctypes.data + word * WORD_BYTES
    return address


def _on_word(emit: Callable[[ir.IRBuilder, Any], Any]) -> Any:
    """A function of compiled code: an atomic instruction on the word at an address."""

    def generate(_context: Any, builder: ir.IRBuilder, _signature: Any, arguments: Any) -> Any:
        return emit(builder, builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()))

    return intrinsic(lambda _context, _address: (types.int64(types.intp), generate))


_read = _on_word(lambda builder, word: builder.load_atomic(word, "acquire", WORD_BYTES))
_increment = _on_word(
    lambda builder, word: builder.atomic_rmw("add", word, ir.Constant(ir.IntType(64), 1), "seq_cst")
)
