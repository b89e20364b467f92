# cython: language_level=3
"""Coroutines and asynchronous generators; a module that loops while it is imported."""

import asyncio

table = []
for _entry in range(50):
    table.append(_entry * _entry)


async def ticks(n):
    for i in range(n):
        yield i


async def _consume(n):
    total = 0
    async for i in ticks(n):
        total += i
    return total + sum([j async for j in ticks(3)])


def consume(n):
    # By hand: asyncio.run() has its own way with Ctrl-C.
    try:
        _consume(n).send(None)
    except StopIteration as end:
        return end.value


async def _spin(n):
    total = 0
    for i in range(n):
        total += i
    return total


def spin(n):
    try:
        _spin(n).send(None)
    except StopIteration as end:
        return end.value


def under_asyncio(n):
    return asyncio.run(_spin(min(n, 5000))), table[-1]


ENDLESS = [('consume', 10**12), ('spin', 10**12)]
SMALL = 5000
